"""Objects of other packages: what cannot be used is said in words, and the rest goes on."""

from importlib.metadata import EntryPoint

import pytest

from visloc_ros.core import plugins
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.plugins import importable_plugins, installed_plugins, load_plugin, plugin_names

GROUP = "visloc_ros.test"
DECODER = EntryPoint("decoder", "json:JSONDecoder", GROUP)
ENCODER = EntryPoint("encoder", "json:JSONEncoder", GROUP)
BROKEN = EntryPoint("broken", "no_such_module:THING", GROUP)


@pytest.fixture(autouse=True)
def fresh():
    yield
    for remembered in (plugins._found, load_plugin, importable_plugins, installed_plugins):
        remembered.cache_clear()


def installed(monkeypatch, *entries):
    plugins._found.cache_clear()
    monkeypatch.setattr(plugins, "entry_points", lambda group: entries if group == GROUP else ())


def test_the_default_comes_first_then_names_by_the_alphabet(monkeypatch):
    installed(monkeypatch, BROKEN, DECODER, ENCODER)
    assert plugin_names(GROUP, first="encoder") == ["encoder", "broken", "decoder"]
    assert load_plugin(GROUP, "decoder").__name__ == "JSONDecoder"


def test_an_unknown_name_is_refused_with_those_that_are_known(monkeypatch):
    installed(monkeypatch, DECODER, ENCODER)
    with pytest.raises(ConfigError, match="'magic'; known: decoder, encoder"):
        load_plugin(GROUP, "magic")


@pytest.mark.parametrize("ask", [lambda: load_plugin(GROUP, "decoder"), lambda: plugin_names(GROUP, first="decoder")])
def test_code_that_is_not_installed_is_reported_with_the_remedy(monkeypatch, ask):
    installed(monkeypatch)
    with pytest.raises(ConfigError, match=r"not installed.*run 'pip install \.'"):
        ask()


def test_a_broken_package_takes_nothing_else_with_it(monkeypatch, caplog):
    installed(monkeypatch, BROKEN, DECODER)
    assert list(importable_plugins(GROUP, first="decoder")) == ["decoder"]
    importable_plugins(GROUP, first="decoder")
    assert caplog.text.count("'broken' (no_such_module:THING) cannot be imported") == 1


@pytest.mark.parametrize(("entries", "names"), [((), []), ((BROKEN, DECODER, ENCODER), ["decoder", "encoder"])])
def test_a_group_of_what_plugins_add_may_be_empty(monkeypatch, entries, names):
    installed(monkeypatch, *entries)
    assert list(installed_plugins(GROUP)) == names


def test_two_packages_with_one_name_are_refused_unless_they_are_one(monkeypatch):
    installed(monkeypatch, DECODER, DECODER)
    assert plugin_names(GROUP, first="decoder") == ["decoder"]
    installed(monkeypatch, DECODER, EntryPoint("decoder", "json:JSONEncoder", GROUP))
    with pytest.raises(ConfigError, match="uninstall one"):
        plugin_names(GROUP, first="decoder")
