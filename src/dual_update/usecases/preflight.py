"""Nothing is touched before everything is proven. Each check names a fault in one sentence."""

from collections.abc import Mapping, Sequence

from dual_update.core.errors import NotNow, Refused
from dual_update.core.model import image_of
from dual_update.core.origin import is_built_here
from dual_update.core.situation import Situation
from dual_update.usecases import preflight_engine, preflight_host, preflight_ports
from dual_update.usecases.scene import Check, Scene
from dual_update.usecases.site import Site

CHECKS: tuple[Check, ...] = (*preflight_engine.CHECKS, *preflight_host.CHECKS, *preflight_ports.CHECKS)
"""What can be seen without fetching anything."""


def refuse_dirty(site: Site, situation: Situation) -> None:
    """Raise NotNow that names local edits which moving the checkout would overwrite or mix up."""
    paths = site.checkout.dirty(situation.decision.head)
    if paths:
        shown = ", ".join(paths[:10]) + (f" and {len(paths) - 10} more" if len(paths) > 10 else "")
        raise NotNow(
            f"The checkout {site.checkout.path} has local edits: {shown}.",
            hint="Commit or remove them; local work is never overwritten.",
        )


def check_before_pull(site: Site, situation: Situation, state: str = "") -> None:
    """Raise Refused with every fault that can be seen without fetching images.

    `state` is the directory this run writes its backup to.
    """
    scene = Scene(site, situation, site.engine.info(), site.engine.surroundings(), state)
    _raise([fault for check in CHECKS for fault in check(scene)])


def check_after_pull(site: Site, situation: Situation, services: Sequence[str]) -> Mapping[str, str]:
    """Image id that each of these services will run. Raises Refused for what is not here or cannot run."""
    found: dict[str, str] = {}
    faults: list[str] = []
    for service in services:
        model = situation.after.services[service]
        reference = image_of(situation.after.name, service, model)
        image = site.engine.image_id(reference)
        if image is None:
            faults.append(f"{service}: the image {reference} is not here{_why_absent(model)}.")
            continue
        found[service] = image
        faults += _platform_faults(site, service, model, image)
        has_command = bool(model.get("command") or model.get("entrypoint"))
        if not has_command and not site.engine.image_has_command(image):
            faults.append(f"{service}: neither the image {reference} nor the service says what to run.")
    _raise(faults)
    return found


def _raise(faults: Sequence[str]) -> None:
    if faults:
        raise Refused("\n".join(faults), hint="Nothing was touched. Mend this and try again.")


def _why_absent(model: Mapping[str, object]) -> str:
    if is_built_here(model):
        return " though it was built"
    if model.get("pull_policy") in {"never", "build"}:
        return f", and its pull_policy is {model['pull_policy']}"
    return " though it was pulled"


_ALIASES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
_EMULATED = {"arm64": "aarch64", "amd64": "x86_64", "386": "i386"}
"""What binfmt_misc calls an architecture."""


def _platform_faults(site: Site, service: str, model: Mapping[str, object], image: str) -> list[str]:
    reference = str(model.get("image") or service)
    platform = site.engine.image_platform(image)
    asked = str(model.get("platform") or "")
    if asked and not _is_for(platform, asked.partition("/")[2].partition("/")[0]):
        return [f"{service}: the image {reference} is for {platform}, and the service asks for {asked}."]
    architecture = site.engine.info().architecture
    here = _ALIASES.get(architecture, architecture)
    if _is_for(platform, here):
        return []
    made_for = platform.partition("/")[2].partition("/")[0]
    emulator = f"/proc/sys/fs/binfmt_misc/qemu-{_EMULATED.get(made_for, made_for)}"
    if asked and (site.disk.exists(emulator) or not site.engine.surroundings().is_same_host):
        return []  # they asked for it, and the host may well run it
    return [f"{service}: the image {reference} is for {platform}, this engine is {here}."]


def _is_for(platform: str, architecture: str) -> bool:
    """Does an image's `os/architecture` name this one. An image that does not say is believed."""
    _, _, own = platform.partition("/")
    return not own or not architecture or own.split("/")[0] == _ALIASES.get(architecture, architecture)
