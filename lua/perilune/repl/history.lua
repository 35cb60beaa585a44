--- The history file of the REPL: one entry a line, line ends inside an entry written as \n.
--
-- Entries are appended one write each, so sessions side by side do not lose each other's. The file
-- is cut when it has grown to twice what is kept. Only its owner can read it.

local files = require("perilune.base.files")

local history = {}

local kept = 2000

local function path()
  local state = os.getenv("XDG_STATE_HOME")
  if not state or state:sub(1, 1) ~= "/" then
    local home = os.getenv("HOME")
    if not home or home == "" then return nil end
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
  local text = name and files.read(name)
  if not text then return entries end
  local lines = {}
  for line in text:gmatch("[^\n]+") do
    lines[#lines + 1] = line
  end
  local first = math.max(1, #lines - kept + 1)
  if #lines > 2 * kept then files.write_atomic(name, table.concat(lines, "\n", first) .. "\n") end
  for i = first, #lines do
    entries[#entries + 1] = lines[i]:gsub("\\(.)", unescape)
  end
  return entries
end

--- Remembers an entry. A history that cannot be written is no reason to stop a session.
-- @tparam string entry
function history.append(entry)
  local name = path()
  if not name or not files.folder_make(name:match("^(.*)/")) then return end
  local log <close> = files.open_log(name, { owner_only = true })
  if log then log:append(entry:gsub("[\n\\]", escape) .. "\n") end
end

return history
