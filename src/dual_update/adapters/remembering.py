"""A renderer that renders the same tree once, for those who need its model twice."""

from collections.abc import Sequence

from dual_update.core.model import Rendered
from dual_update.usecases.ports import Renderer, Tree


class RememberingRenderer:
    """Fits the port Renderer. Remembers for as long as it lives: trees of commits never change."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._known: dict[tuple[str, tuple[str, ...], str, str, bool], Rendered] = {}

    def render(
        self, tree: Tree, files: Sequence[str], *, directory: str, name: str, by_env: bool = False
    ) -> Rendered:
        key = (tree.commit, tuple(files), directory, name, by_env)
        if key not in self._known:
            self._known[key] = self._renderer.render(
                tree, files, directory=directory, name=name, by_env=by_env
            )
        return self._known[key]
