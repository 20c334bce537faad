"""What `flask shop drill` does, in the running server or on files that it opened itself: each is one request and returns at once."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from shop.drills.records import RunState
from shop.drills.runner import Drills
from shop.errors import Conflict
from shop.web.services import Services

WHO = "command line"

Result = dict[str, Any]


def operations(services: Services) -> Mapping[str, Callable[[Mapping[str, Any]], Result]]:
    """By name, as `Operations` knows them."""
    return {
        "drills": lambda arguments: _list(_of(services)),
        "drill": lambda arguments: _start(_of(services), arguments),
        "drill-progress": lambda arguments: _progress(_of(services), arguments),
        "drill-stop": lambda arguments: _stop(_of(services)),
    }


def _of(services: Services) -> Drills:
    if services.drills is None:
        raise Conflict("This shop has no drills.")
    return services.drills


def _list(drills: Drills) -> Result:
    each = [
        {
            "name": drill.name,
            "title": drill.title,
            "question": drill.question,
            "seconds": drill.seconds,
            "changes_primary": drill.changes_primary,
            "why_not": drills.why_not(drill.name),
            "last": run.state.value if (run := drills.last_run(drill.name)) else "",
        }
        for drill in drills.all()
    ]
    return {"sentence": f"{len(each)} drills.", "drills": each, "left_over": drills.left_over()}


def _start(drills: Drills, arguments: Mapping[str, Any]) -> Result:
    """`name`, and `confirmed` where the primary changes."""
    drill = drills.drill(str(arguments.get("name", "")))
    drills.start(drill.name, who=WHO, is_confirmed=arguments.get("confirmed") is True)
    return {
        "sentence": f"The drill “{drill.title}” has begun.",
        "title": drill.title,
        "question": drill.question,
        "story": list(drill.story),
        "others": drill.others,
    }


def _progress(drills: Drills, arguments: Mapping[str, Any]) -> Result:
    """The run of the drill `name`, as far as it has come."""
    run = drills.last_run(str(arguments.get("name", "")))
    if run is None:
        raise Conflict("This drill has not been run.")
    return {**msgspec.to_builtins(run), "is_running": run.state is RunState.RUNNING}


def _stop(drills: Drills) -> Result:
    was_running = drills.stop()
    return {"sentence": "It stops after this step." if was_running else "No drill is running."}
