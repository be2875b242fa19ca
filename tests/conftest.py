"""The longest files run first: begun last, one would keep a single process busy at the end. CI
leaves out the tests that are marked `long`. No example of hypothesis fails for taking long.
"""

import os

import pytest
from hypothesis import settings

# On top of hypothesis' own profile for CI, which draws the same examples every time.
settings.register_profile("untimed", settings(), deadline=None)
settings.load_profile("untimed")

LONGEST = (
    "test_quickstart.py",
    "test_kill_points.py",
    "test_prompted_runs.py",
    "test_commands.py",
    "test_online_phase.py",
    "test_damage.py",
    "test_ablation.py",
    "test_equality.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each file stays in one piece; after the longest come those with slow tests."""
    if os.environ.get("CI"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip("takes minutes; `make test` runs it, CI does not"))
    slow = {item.path for item in items if item.get_closest_marker("slow")}

    def begins(item: pytest.Item) -> int:
        if item.path.name in LONGEST:
            return LONGEST.index(item.path.name)
        return len(LONGEST) + (item.path not in slow)

    items.sort(key=begins)
