--- The history file of the REPL: one entry a line, line ends inside an entry written as \n.
--
-- Entries are appended one write each, so sessions side by side do not lose each other's. The file
-- is cut when it has grown to twice what is kept. Only its owner can read it.

local core = require("perilune.core")

local history = {}

local kept = 2000

local function path()
  local state = os.getenv("XDG_STATE_HOME")
  if not state or state:sub(1, 1) ~= "/" then
    local home = os.getenv("HOME")
    if not home or home == "" then
      return nil
    end
    state = home .. "/.local/state"
  end
  return state .. "/perilune/history"
end

local escape = { ["\n"] = "\\n", ["\\"] = "\\\\" }
local unescape = { n = "\n", ["\\"] = "\\" }

--- The entries, oldest first.
-- @treturn {string,...}
function history.load()
  local entries = {}
  local name = path()
  local file = name and io.open(name)
  if not file then
    return entries
  end
  local lines = {}
  for line in file:lines() do
    lines[#lines + 1] = line
  end
  file:close()
  local first = math.max(1, #lines - kept + 1)
  if #lines > 2 * kept then
    core.system.write_file_atomic(name, table.concat(lines, "\n", first) .. "\n")
  end
  for i = first, #lines do
    entries[#entries + 1] = lines[i]:gsub("\\(.)", unescape)
  end
  return entries
end

--- Remembers an entry. A history that cannot be written is no reason to stop a session.
-- @tparam string entry
function history.append(entry)
  local name = path()
  if not name or not core.system.mkdir_p(name:match("^(.*)/")) then
    return
  end
  core.system.append_private(name, entry:gsub("[\n\\]", escape) .. "\n")
end

return history
