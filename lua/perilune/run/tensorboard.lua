--- TensorBoard event files: scalars, texts and hyper-parameters.
--
-- A file is a run of records, each
--
--     u64 length | u32 masked crc32c(length) | data | u32 masked crc32c(data)      little-endian
--
-- with masked(c) = rotate_right(c, 15) + 0xa282ead8 (tensorboard's record_writer.py), and data a
-- protocol buffer `Event` (event.proto, summary.proto):
--
--     Event    1 double wall_time   2 int64 step   3 string file_version   5 Summary   7 SessionLog
--     Summary  1 Value...    Value  1 string tag   2 float simple_value    8 Tensor    9 Metadata
--
-- The first event has file_version "brain.Event:2". A run that goes on from a checkpoint starts
-- with SessionLog START at the next step, upon which TensorBoard drops what came after the
-- checkpoint.
--
-- Tags are those of transformers (rewrite_logs): "train/" before a name, "eval_x" becomes "eval/x",
-- "test_x" becomes "test/x". Hyper-parameters are summaries of the plugin "hparams" (its
-- plugin_data.proto and api.proto), which shows runs as rows of a table with the scalars' last
-- values. Histograms and images are not written here.

local files = require("perilune.base.files")
local list = require("perilune.base.list")
local system = require("perilune.core").system

local tensorboard = {}

--- A file of events.
-- @class EventWriter
-- @field string path
local Writer = {}
Writer.__index = Writer
Writer.__name = "tensorboard.writer"

local crc_table = {}
for byte = 0, 255 do
  local crc = byte
  for _ = 1, 8 do
    crc = crc & 1 == 1 and crc >> 1 ~ 0x82f63b78 or crc >> 1
  end
  crc_table[byte] = crc
end

--- CRC-32C (Castagnoli, reflected polynomial 0x82f63b78) of a text.
-- @tparam string data
-- @treturn integer
function tensorboard.crc32c(data)
  local crc = 0xffffffff
  for i = 1, #data do
    crc = crc >> 8 ~ crc_table[(crc ~ data:byte(i)) & 0xff]
  end
  return crc ~ 0xffffffff
end

local function masked(data)
  local crc = tensorboard.crc32c(data)
  return ((crc >> 15 | crc << 17) + 0xa282ead8) & 0xffffffff
end

--- One record of a file.
-- @tparam string data
-- @treturn string
function tensorboard.record(data)
  local length = string.pack("<I8", #data)
  return length .. string.pack("<I4", masked(length)) .. data .. string.pack("<I4", masked(data))
end

local function varint(n)
  local bytes = {}
  repeat
    local low = n & 0x7f
    n = n >> 7
    bytes[#bytes + 1] = string.char(n ~= 0 and low | 0x80 or low)
  until n == 0
  return table.concat(bytes)
end

local function field_varint(number, n) return varint(number << 3) .. varint(n) end

local function field_bytes(number, data) return varint(number << 3 | 2) .. varint(#data) .. data end

local function event(time, step, body)
  local head = varint(1 << 3 | 1) .. string.pack("<d", time)
  return head .. (step and field_varint(2, step) or "") .. body
end

--- The tag under which transformers shows a metric.
-- @tparam string name
-- @treturn string
function tensorboard.tag(name)
  local room, rest = name:match("^(eval)_(.+)$")
  if not room then
    room, rest = name:match("^(test)_(.+)$")
  end
  return room and room .. "/" .. rest or "train/" .. name
end

--- Open a new event file in a folder, which must be there.
-- @tparam string folder
-- @tparam ?table options `time` (seconds since 1970, now), `host`, `start_step` (the run goes on:
-- drop what earlier files hold from this step on)
-- @treturn ?EventWriter with the field `path`
-- @treturn ?string
function tensorboard.open(folder, options)
  options = options or {}
  local time = options.time or system.realtime()
  local host = options.host or system.hostname()
  local name = ("events.out.tfevents.%010d.%s.%d.0"):format(math.floor(time), host, system.pid())
  local path = folder .. "/" .. name
  local file, message = files.open_log(path)
  if not file then return nil, message end
  local head = tensorboard.record(event(time, nil, field_bytes(3, "brain.Event:2")))
  if options.start_step then
    head = head
      .. tensorboard.record(event(time, options.start_step, field_bytes(7, field_varint(1, 1))))
  end
  local ok
  ok, message = file:append(head)
  if not ok then
    file:close()
    return nil, message
  end
  return setmetatable({ path = path, file = file }, Writer)
end

function Writer:write(data)
  local ok, message = self.file:append(tensorboard.record(data))
  if not ok then error(message, 3) end
end

--- Write metrics of one step in one event; what is not a number is passed over.
-- @tparam integer step
-- @tparam {[string]=number} metrics by name, not by tag
-- @tparam ?number time seconds since 1970
function Writer:scalars(step, metrics, time)
  local names = {}
  for name, value in pairs(metrics) do
    if type(value) == "number" then names[#names + 1] = name end
  end
  table.sort(names)
  local values = {}
  for i, name in ipairs(names) do
    local value = field_bytes(1, tensorboard.tag(name))
      .. varint(2 << 3 | 5)
      .. string.pack("<f", metrics[name])
    values[i] = field_bytes(1, value)
  end
  if #values > 0 then
    local summary = field_bytes(5, table.concat(values))
    self:write(event(time or system.realtime(), step, summary))
  end
end

--- Write a text, which TensorBoard shows as Markdown.
-- @tparam integer step
-- @tparam string name
-- @tparam string text
-- @tparam ?number time seconds since 1970
function Writer:text(step, name, text, time)
  local one_element = field_bytes(2, field_bytes(2, field_varint(1, 1)))
  local tensor = field_varint(1, 7) .. one_element .. field_bytes(8, text)
  local metadata = field_bytes(1, field_bytes(1, "text"))
  local value = field_bytes(1, tensorboard.tag(name))
    .. field_bytes(8, tensor)
    .. field_bytes(9, metadata)
  local summary = field_bytes(5, field_bytes(1, value))
  self:write(event(time or system.realtime(), step, summary))
end

-- google.protobuf.Value: 2 double, 3 text, 4 boolean.
local function value_bytes(value)
  if type(value) == "number" then return varint(2 << 3 | 1) .. string.pack("<d", value) end
  if type(value) == "boolean" then return field_varint(4, value and 1 or 0) end
  if type(value) == "table" then
    local parts = {}
    for i, one in ipairs(value) do
      parts[i] = tostring(one)
    end
    value = table.concat(parts, ",")
  end
  return field_bytes(3, tostring(value))
end

-- A summary that is for the plugin "hparams": its content stands in the metadata, the tensor is an
-- empty one. `number` is the content's field in HParamsPluginData.
local function write_hparams(self, tag, number, content, time)
  local data = field_varint(1, 0) .. field_bytes(number, content)
  local plugin = field_bytes(1, "hparams") .. field_bytes(2, data)
  local tensor = field_varint(1, 1) .. field_bytes(2, "")
  local value = field_bytes(1, tag)
    .. field_bytes(8, tensor)
    .. field_bytes(9, field_bytes(1, plugin))
  local summary = field_bytes(5, field_bytes(1, value))
  self:write(event(time, nil, summary))
end

--- Write the hyper-parameters of the run (SessionStartInfo), for TensorBoard's table of runs.
-- @tparam {[string]=any} settings numbers, texts, booleans, lists of them
-- @tparam ?string group runs of one group are shown as one: the run's name
-- @tparam ?number time seconds since 1970
function Writer:hparams(settings, group, time)
  time = time or system.realtime()
  local names = list.keys(settings)
  local entries = {}
  for i, name in ipairs(names) do
    local entry = field_bytes(1, name) .. field_bytes(2, value_bytes(settings[name]))
    entries[i] = field_bytes(1, entry)
  end
  local content = table.concat(entries)
    .. (group and field_bytes(4, group) or "")
    .. varint(5 << 3 | 1)
    .. string.pack("<d", time)
  write_hparams(self, "_hparams_/session_start_info", 3, content, time)
end

local statuses = { done = 1, failed = 2, stopped = 0 } -- of api.proto: SUCCESS, FAILURE, UNKNOWN

--- Write how the run ended (SessionEndInfo).
-- @tparam string ending "done", "failed" or "stopped"
-- @tparam ?number time seconds since 1970
function Writer:ended(ending, time)
  time = time or system.realtime()
  local content = field_varint(1, statuses[ending] or 0)
    .. varint(2 << 3 | 1)
    .. string.pack("<d", time)
  write_hparams(self, "_hparams_/session_end_info", 4, content, time)
end

--- Close the file; more than once is fine.
function Writer:close() self.file:close() end

return tensorboard
