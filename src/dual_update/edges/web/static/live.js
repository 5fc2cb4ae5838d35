// Live steps: listens to a run's events and shows the server's own words again. Without it every page
// works; one has to press a link to see how far a run is.
"use strict";

(function () {
  const place = document.querySelector("[data-live]");
  if (!place) return;
  const heard = document.getElementById("heard");
  const part = place.dataset.part;
  let isAsking = false;
  let isAgain = false;
  let source = null;
  let timer = null;

  function stop() {
    if (source) source.close();
    if (timer) window.clearInterval(timer);
    source = timer = null;
  }

  async function show() {
    if (isAsking) {
      isAgain = true;
      return;
    }
    isAsking = true;
    try {
      const answer = await fetch(part, { credentials: "same-origin", headers: { accept: "text/html" } });
      if (answer.ok && !answer.redirected) put(await answer.text());
    } catch (error) {
      // The service may be restarting: the next event or the next turn of the clock asks again.
    }
    isAsking = false;
    if (isAgain) {
      isAgain = false;
      show();
    }
  }

  function put(words) {
    const fresh = new DOMParser().parseFromString(words, "text/html");
    const had = document.activeElement && place.contains(document.activeElement) ? document.activeElement : null;
    const key = had && (had.id || had.getAttribute("href"));
    const open = [...place.querySelectorAll("details[open] > summary")].map((one) => one.id);
    place.replaceChildren(...fresh.body.childNodes);
    for (const id of open) {
      const again = id && document.getElementById(id);
      if (again) again.parentElement.open = true;
    }
    if (key) {
      const again = document.getElementById(key) || place.querySelector('a[href="' + CSS.escape(key) + '"]');
      if (again) again.focus({ preventScroll: true });
    }
    const lead = place.querySelector("[data-heard]");
    if (!lead) return;
    if (heard && heard.textContent !== lead.dataset.heard) heard.textContent = lead.dataset.heard;
    if (lead.dataset.ended === "yes") {
      document.title = document.title.replace(/^[^·]*/, lead.dataset.state + " ");
      stop();
    }
  }

  function pollInstead() {
    if (!timer) timer = window.setInterval(show, 2000);
  }

  if (window.EventSource && place.dataset.live !== "poll") {
    source = new EventSource(place.dataset.live);
    source.onopen = show;
    source.onmessage = show;
    for (const kind of ["step", "end"]) source.addEventListener(kind, show);
    source.onerror = function () {
      if (source && source.readyState === EventSource.CLOSED) pollInstead();
      show();
    };
  } else {
    pollInstead();
  }
})();
