--- What a notebook's server tells a kernel of how to meet it: the connection file, and the sockets
-- it leads to.

local files = require("perilune.base.files")
local host = require("perilune.host")
local lfs = require("lfs")

local connection = {}

-- Channels of the connection file, by their names here.
local channels = {
  shell = "shell_port",
  control = "control_port",
  stdin = "stdin_port",
  heartbeat = "hb_port",
  iopub = "iopub_port",
}

--- Reads a connection file.
-- @tparam string path
-- @treturn ?{[string]=string} addresses of the channels, and `key`
-- @treturn ?string message
function connection.read(path)
  local file, message = files.read_json(path, { strict = true })
  if type(file) ~= "table" then return nil, message or path .. ": no connection file" end
  local transport, ip, scheme = file.transport, file.ip, file.signature_scheme
  if transport ~= "tcp" and transport ~= "ipc" then
    return nil, ("%s: transport is %s; tcp or ipc is wanted"):format(path, tostring(transport))
  elseif type(ip) ~= "string" or type(file.key) ~= "string" then
    return nil, path .. ": ip and key have to be texts"
  elseif file.key ~= "" and scheme ~= "hmac-sha256" then
    return nil, ("%s: messages are signed by hmac-sha256, not %s"):format(path, tostring(scheme))
  end
  local found = { key = file.key }
  for name, port in pairs(channels) do
    local number = file[port]
    if math.type(number) ~= "integer" or number < 1 or number > 65535 then
      return nil, ("%s: %s is %s; a port is wanted"):format(path, port, tostring(number))
    end
    found[name] = ("%s://%s%s%d"):format(transport, ip, transport == "tcp" and ":" or "-", number)
  end
  return found
end

--- The module of the sockets.
-- @treturn ?table
-- @treturn ?string message
function connection.module()
  local folder = host.executable:match("^(.*)/") or "."
  for _, place in ipairs { folder .. "/lib/perilune", folder .. "/" .. host.modules } do
    local path = place .. "/jupyter.so"
    if lfs.attributes(path, "mode") == "file" then
      local open, message = package.loadlib(path, "luaopen_perilune_sockets")
      if not open then return nil, message end
      return open()
    end
  end
  return nil,
    "this build has no notebook kernel: libzmq3-dev and libsodium-dev were missing when it was "
      .. "built; in a checkout `./perilune jupyter` installs them and builds"
end

return connection
