"""Reads a folder of event files with the tensorboard package and prints what it holds as JSON.

    python3 read_tensorboard.py FOLDER

tests/lua/tensorboard_spec.lua runs it where python3, or the interpreter that PERILUNE_TENSORBOARD
names, has the package (made with tensorboard 2.21).
"""
import json
import sys

from google.protobuf import json_format
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

folder = sys.argv[1]
events = EventAccumulator(folder, size_guidance={"scalars": 0, "tensors": 0})
events.Reload()
scalars = {
    tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]
}
texts = {
    tag: [[e.step, e.tensor_proto.string_val[0].decode()] for e in events.Tensors(tag)]
    for tag in events.Tags()["tensors"]
    if events.SummaryMetadata(tag).plugin_data.plugin_name == "text"
}
found = events.PluginTagToContent("hparams")
start = metadata.parse_session_start_info_plugin_data(found[metadata.SESSION_START_INFO_TAG])
end = found.get(metadata.SESSION_END_INFO_TAG)
print(
    json.dumps(
        {
            "scalars": scalars,
            "texts": texts,
            "hparams": {k: json_format.MessageToDict(v) for k, v in start.hparams.items()},
            "started": start.start_time_secs,
            "status": end and metadata.parse_session_end_info_plugin_data(end).status,
        }
    )
)
