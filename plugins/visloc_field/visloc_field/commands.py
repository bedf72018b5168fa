"""The command that runs data sets, and the programs of PRAM, FUSELOC and LBR by their names."""

from visloc_ros.apps import Command, PluginCommands

_COMMANDS = {
    "benchmark": Command(
        "visloc_field.command_benchmark",
        "benchmark",
        "Run a benchmark: map each scene at the given poses, find its queries, write result files, print the figures.",
    ),
}
_HIDDEN = {
    "inference": Command("visloc_field.command_pram", "inference"),
    "main": Command("visloc_field.command_pram", "main_program"),
    "recmap": Command("visloc_field.command_pram", "recmap"),
    "main-aachen": Command("visloc_field.command_fuseloc", "main_aachen"),
    "main-robotcar": Command("visloc_field.command_fuseloc", "main_robotcar"),
    "main-cmu": Command("visloc_field.command_fuseloc", "main_cmu"),
    "main-cambridge": Command("visloc_field.command_fuseloc", "main_cambridge"),
    "run-reconstruct-aachen": Command("visloc_field.command_lbr", "reconstruct_aachen"),
    "run-reconstruct-robotcar": Command("visloc_field.command_lbr", "reconstruct_robotcar"),
    "train-aachen": Command("visloc_field.command_lbr", "train_aachen"),
    "train-robotcar": Command("visloc_field.command_lbr", "train_robotcar"),
    "test-aachen": Command("visloc_field.command_lbr", "recognise_aachen"),
    "test-robotcar": Command("visloc_field.command_lbr", "recognise_robotcar"),
    "run-loc-aachen": Command("visloc_field.command_lbr", "localize_aachen"),
    "run-loc-aachn": Command("visloc_field.command_lbr", "localize_aachen"),
    "run-loc-robotcar": Command("visloc_field.command_lbr", "localize_robotcar"),
}

COMMANDS = PluginCommands(commands=_COMMANDS, hidden=_HIDDEN)
