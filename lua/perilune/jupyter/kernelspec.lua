--- The file by which Jupyter finds the kernel.

local files = require("perilune.base.files")
local host = require("perilune.host")

local kernelspec = {}

--- What the file says.
-- @tparam string program
-- @treturn table
function kernelspec.spec(program)
  return {
    argv = { program, "jupyter", "kernel", "{connection_file}" },
    display_name = "Perilune (Lua)",
    language = "lua",
    interrupt_mode = "signal",
    metadata = { debugger = false },
  }
end

--- The folder of the kernel.
-- @tparam ?string prefix an installation's; nil: the user's own
-- @treturn ?string
-- @treturn ?string message
function kernelspec.folder(prefix)
  if prefix then return prefix .. "/share/jupyter/kernels/perilune" end
  local data = os.getenv("JUPYTER_DATA_DIR")
  if not data or data == "" then
    local home, share = os.getenv("HOME"), os.getenv("XDG_DATA_HOME")
    if share and share:sub(1, 1) ~= "/" then share = nil end
    if not share and (not home or home == "") then
      return nil, "HOME is not set: give a place by --prefix"
    end
    data = (share or home .. "/.local/share") .. "/jupyter"
  end
  return data .. "/kernels/perilune"
end

--- Writes it.
-- @tparam ?string prefix as for `folder`
-- @treturn ?string the file's path
-- @treturn ?string message
function kernelspec.install(prefix)
  local folder, message = kernelspec.folder(prefix)
  if not folder then return nil, message end
  local made, wrong = files.folder_make(folder)
  if not made then return nil, wrong end
  local path = folder .. "/kernel.json"
  made, wrong = files.write_json(path, kernelspec.spec(host.executable))
  if not made then return nil, wrong end
  return path
end

return kernelspec
