// Keeps a page as the server would show it anew: a run's page by the run's events, the front page by asking
// now and then. Nothing is made here that the server did not say, and without this every page works as well:
// one has to press a link to see how far a run is.
"use strict";

(function () {
  const place = document.querySelector("[data-live]");
  if (!place) return;
  const BUSY_MS = 1500;
  const QUIET_MS = 10000;
  const heard = document.getElementById("heard");
  const lost = document.getElementById("lost");
  const events = place.dataset.live;
  const isPolling = events === "poll" || !window.EventSource;
  let told = lead().dataset.heard;
  let failures = 0;
  let source = null;
  let timer = null;
  let isAsking = false;
  let isAskedAgain = false;
  let hasEnded = false;

  function lead() {
    return place.querySelector("[data-heard]");
  }

  async function show() {
    if (isAsking) {
      isAskedAgain = true;
      return;
    }
    isAsking = true;
    try {
      const answer = await fetch(place.dataset.part, { headers: { accept: "text/html" } });
      if (answer.redirected) window.location.reload(); // the session is over: the login says so
      else if (answer.ok) put(await answer.text());
      failures = 0;
    } catch (error) {
      failures += 1; // the service may be restarting: the next event, or the next turn, asks again
    }
    if (lost) lost.hidden = failures < 2;
    isAsking = false;
    if (isAskedAgain) {
      isAskedAgain = false;
      show();
    }
  }

  function put(words) {
    const fresh = new DOMParser().parseFromString(words, "text/html");
    const next = fresh.querySelector("[data-heard]");
    if (!next) return;
    if (!next.dataset.mark || next.dataset.mark !== lead().dataset.mark) {
      const focused = place.contains(document.activeElement) ? document.activeElement : null;
      const key = focused && (focused.id ? "#" + CSS.escape(focused.id) : hrefOf(focused));
      const open = [...place.querySelectorAll("details[open] > summary[id]")].map((one) => one.id);
      place.replaceChildren(...fresh.body.childNodes);
      for (const id of open) {
        const summary = document.getElementById(id);
        if (summary) summary.parentElement.open = true;
      }
      const again = key && place.querySelector(key);
      if (again) again.focus({ preventScroll: true });
    }
    say();
  }

  function hrefOf(element) {
    const href = element.getAttribute("href");
    return href && 'a[href="' + CSS.escape(href) + '"]';
  }

  function say() {
    const now = lead().dataset;
    if (heard && told !== now.heard) heard.textContent = told = now.heard;
    document.title = document.title.replace(/^[^\u00b7]*/, now.state + " ");
    if (now.ended === "yes") {
      hasEnded = true;
      if (source) source.close();
    }
  }

  function turn() {
    const wait = isPolling && lead().dataset.busy === "no" ? QUIET_MS : BUSY_MS;
    timer = window.setTimeout(async function () {
      if (!document.hidden) await show();
      if (!hasEnded) turn();
    }, wait);
  }

  function listen() {
    source = new EventSource(events);
    source.addEventListener("open", show);
    source.addEventListener("step", show);
    source.addEventListener("end", show);
    source.addEventListener("error", function () {
      show();
      if (source.readyState === EventSource.CLOSED && !hasEnded && !timer) turn();
    });
  }

  document.addEventListener("visibilitychange", function () {
    if (!document.hidden && !hasEnded) show();
  });
  if (isPolling) turn();
  else listen();
})();
