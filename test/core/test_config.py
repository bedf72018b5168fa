from dataclasses import dataclass

import pytest

from visloc_ros.core.config import Config, list_options, nest, option, read_config, section
from visloc_ros.core.errors import ConfigError


@dataclass(frozen=True)
class Inner(Config):
    rate_hz: float = option(2.0, "frames a second", minimum=0.1, maximum=100.0)
    model: str = option("a", "name of the model", choices=("a", "b"))


@dataclass(frozen=True)
class Outer(Config):
    enabled: bool = option(True, "whether it runs")
    count: int = option(3, "how many", minimum=1)
    inner: Inner = section(Inner)


def test_round_trip_through_plain_dictionaries():
    config = Outer(count=5, inner=Inner(rate_hz=7.0))
    assert Outer.from_mapping(config.to_mapping()) == config


def test_integers_are_welcome_where_floats_are_meant():
    assert Outer.from_mapping({"inner": {"rate_hz": 5}}).inner.rate_hz == 5.0


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"coutn": 3}, "did you mean 'count'"),
        ({"inner": {"rate": 3.0}}, "unknown option 'inner.rate'"),
        ({"inner": 3}, "group of options"),
        ({"count": "3"}, "must be of type int"),
        ({"count": True}, "must be of type int"),
        ({"enabled": 1}, "must be of type bool"),
        ({"count": 0}, "outside \\[1, inf\\]"),
        ({"inner": {"rate_hz": float("nan")}}, "outside"),
        ({"inner": {"model": "c"}}, "one of a, b"),
    ],
)
def test_bad_values_are_refused_in_words(values, words):
    with pytest.raises(ConfigError, match=words):
        Outer.from_mapping(values)


def test_ranges_hold_for_values_made_in_code_too():
    with pytest.raises(ConfigError):
        Outer(count=0)


def test_options_are_listed_with_dotted_names():
    options = {item.name: item for item in list_options(Outer)}
    assert list(options) == ["enabled", "count", "inner.rate_hz", "inner.model"]
    assert options["inner.rate_hz"].default == 2.0
    assert options["inner.rate_hz"].maximum == 100.0


def test_nest_is_the_inverse_of_dotted_names():
    assert nest({"a.b": 1, "a.c": 2, "d": 3}) == {"a": {"b": 1, "c": 2}, "d": 3}


def test_yaml_files(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("count: 4\ninner: {model: b}\n")
    assert read_config(Outer, path) == Outer(count=4, inner=Inner(model="b"))
    path.write_text("- 1\n")
    with pytest.raises(ConfigError, match="key: value"):
        read_config(Outer, path)
    path.write_text("a: [")
    with pytest.raises(ConfigError, match="cannot read"):
        read_config(Outer, path)
    path.write_text("inner: {model: a}\ncount: 4\ninner: {model: b}\n")
    with pytest.raises(ConfigError, match="'inner' is there twice"):
        read_config(Outer, path)
    with pytest.raises(ConfigError, match="cannot read"):
        read_config(Outer, tmp_path / "absent.yaml")
    assert read_config(Outer, None) == Outer()
