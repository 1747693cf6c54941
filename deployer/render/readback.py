"""Rendered YAML is read back and must be the value tree it was printed from."""

import json
from typing import Any

from deployer.errors import DeployerError


def check_yaml(text: str, tree: dict[str, Any], name: str) -> None:
    """Raise DeployerError (a bug) unless `text` parses to exactly `tree`; `$$` counts as the `$` Compose reads."""
    import yaml

    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
        parsed = _interpolated(loader.get_single_data())
    except yaml.YAMLError as error:
        raise DeployerError(f"the rendered {name} is not YAML: {error}") from error
    if json.dumps(parsed, sort_keys=True) != json.dumps(tree, sort_keys=True):
        raise DeployerError(f"the rendered {name} does not say what the plan says", details={"read_back": parsed})


def _interpolated(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _interpolated(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_interpolated(item) for item in value]
    if isinstance(value, str) and "$" in value:
        if "$" in value.replace("$$", ""):
            raise DeployerError("a rendered value holds a $ that Compose would interpolate")
        return value.replace("$$", "$")
    return value
