--- Messages of Jupyter's protocol 5.3: their headers, and tables from and to the texts on the wire.

local format = require("perilune.base.format")
local json = require("perilune.base.json")

local messages = {}

--- The version of the protocol.
-- @type string
messages.version = "5.3"

local function object_of(text)
  local value = json.decode(text)
  return type(value) == "table" and value or nil
end

--- Reads a message; those that are none of the protocol are nil.
-- @tparam table wire as sockets:receive gives it
-- @treturn ?{channel=string,identities={string,...},type=string,header=string,content=table}
--   header: its text, for the answers
function messages.read(wire)
  local header, content = object_of(wire.header or ""), object_of(wire.content or "")
  if not header or not content or type(header.msg_type) ~= "string" then return nil end
  return {
    channel = wire.channel,
    identities = wire.identities,
    type = header.msg_type,
    header = wire.header,
    content = content,
  }
end

--- Makes the sender of one session.
-- @tparam table sockets
-- @tparam {token=function,session=string,user=string} about `token` gives texts nobody has yet
-- @treturn function send(channel, type, content, to): `to` is the message that is answered, or nil
function messages.sender(sockets, about)
  return function(channel, kind, content, to)
    local header = json.encode {
      msg_id = about.token(),
      session = about.session,
      username = about.user,
      date = os.date("!%Y-%m-%dT%H:%M:%SZ"),
      msg_type = kind,
      version = messages.version,
    }
    -- iopub is heard by all, and its first frame is a subject; elsewhere it is who asked.
    local identities = channel == "iopub" and { kind } or to.identities
    local body = json.encode(content, { finite = true })
    sockets:send(channel, identities, header, to and to.header or "{}", "{}", body)
  end
end

--- A text as data of a message.
-- @tparam string text
-- @treturn table
function messages.plain(text) return { ["text/plain"] = format.utf8(text) } end

return messages
