"""May the service apply what is pending without being asked again: a pure rule (contract.md, "Approval").

Reasons that last are told before those that pass, so that the sentence a person reads is the one to act on.
"""

from dataclasses import dataclass
from typing import Literal

from dual_update.core.config import Driver, Mode

Answer = Literal["apply", "wait", "never"]


@dataclass(frozen=True)
class Facts:
    """What the rule looks at. `reviewed` is empty when every commit came through an approved pull request,
    else a sentence that says why not. Sentences are empty where nothing is to be said."""

    is_pending: bool
    touches: bool
    update_type: str
    has_code: bool = False
    has_moved_images: bool = False
    driver: Driver = "runner"
    mode: Mode = "dual"
    strategy: str = ""
    is_auto_approved: bool = False
    is_agreed: bool = False
    reviewed: str = ""
    quarantined: str = ""
    needs_person: str = ""
    drift: str = ""
    is_first: bool = False
    paused: str = ""
    is_window_open: bool = True
    opens_at: str = ""


@dataclass(frozen=True)
class Permission:
    """`apply` now, `wait` for a person or a moment, or `never` by this service as things are configured."""

    answer: Answer
    why: str

    @property
    def may_apply(self) -> bool:
        return self.answer == "apply"


def permission(facts: Facts) -> Permission:
    """Every condition in its order; the last word is `apply`."""
    if not facts.is_pending:
        return Permission("never", "The cluster runs what is wanted.")
    if facts.driver != "service":
        return Permission(
            "never", "This cluster is driven by its runner (`driver: runner`); the service only proposes."
        )
    if facts.mode == "watchtower_only" and facts.strategy not in {"none", "watchtower"}:
        return Permission("never", "This changes the structure, and the mode watchtower_only never does.")
    if facts.quarantined:
        return Permission("never", f"This content failed before and is quarantined: {facts.quarantined}")
    if facts.needs_person:
        return Permission("wait", f"A person must agree: {facts.needs_person}")
    if facts.drift:
        return Permission("wait", f"Someone changed what runs: {facts.drift}")
    doubt = _doubt(facts)
    if doubt:
        return Permission("wait", doubt)
    if facts.paused:
        return Permission("wait", f"Paused: {facts.paused}")
    if not facts.is_window_open:
        return Permission(
            "wait", f"The next maintenance window opens at {facts.opens_at or 'no known time'}."
        )
    return Permission("apply", "It is approved.")


def _doubt(facts: Facts) -> str:
    """Why nobody has approved it yet; nothing where somebody has."""
    if not facts.touches or facts.is_agreed:
        return ""
    if facts.is_first:
        return "The first deployment of a cluster waits for a person."
    is_image_only = facts.update_type == "image_only" and not facts.has_code
    if is_image_only:
        if facts.is_auto_approved:
            return ""
        return "Only images change; AUTO_APPROVE is off, so it waits for a person."
    if facts.has_moved_images and not facts.is_auto_approved:
        return "A registry has new content under a tag, and AUTO_APPROVE is off."
    return facts.reviewed
