--- Files: atomic writing, logs, folders that appear whole, hashes, weight files. Whatever the
-- library and recipes write goes through here, so through the engine's checks and its fault hook.
--
-- Whatever can go wrong outside gives nil and a message; wrong arguments raise.
--
--     local tmp = assert(files.folder_begin("runs/x/checkpoint-10"))
--     assert(files.safetensors.save(tmp .. "/model.safetensors", tensors))
--     assert(files.write_json(tmp .. "/trainer_state.json", state))
--     assert(files.folder_commit(tmp, "runs/x/checkpoint-10"))

local core = require("perilune.core")
local lfs = require("lfs")
local json = core.json

local files = {}

--- The text of a regular file.
-- @tparam string path of the file
-- @tparam ?integer limit bytes it may have at most (default: 2 GB); a longer one is refused
-- @treturn ?string text
-- @treturn ?string message
files.read = core.files.read

--- Writes a file that appears whole: a temporary file beside it, synced, renamed over it. The mode
-- of the old file stays.
-- @tparam string path of the file
-- @tparam string text what it shall hold
-- @treturn ?boolean true; nil: the old file is untouched
-- @treturn ?string message
files.write_atomic = core.files.write_atomic

--- Copies a file, atomically.
-- @tparam string from the file
-- @tparam string to the name of the copy; a file that stands there is replaced
-- @treturn ?boolean true
-- @treturn ?string message
files.copy = core.files.copy

--- Renames a file, in place of what stands there, and syncs the folder.
-- @tparam string from the name it has
-- @tparam string to the name it gets, on the same file system
-- @treturn ?boolean true
-- @treturn ?string message
files.rename = core.files.rename

--- Removes a file; fine when there is none.
-- @tparam string path of the file
-- @treturn ?boolean true
-- @treturn ?string message
files.remove = core.files.remove

--- A file written piece by piece, which appears whole at last: `writer:write(text, ...)` and
-- `writer:commit()` give true, or nil and a message; `writer:close()`, also by `<close>`, gives up
-- what was not committed. A commit after a failed write fails.
-- @tparam string path the name the file shall have at last
-- @treturn ?userdata writer
-- @treturn ?string message
files.create = core.files.create

--- A file that rows are appended to, made when it is not there: `log:append(text)` has the text
-- with the kernel, whole, when it returns, and leaves nothing of it when it fails; `log:sync()` has
-- the texts so far outlive a power cut. Both give true, or nil and a message. `log:close()`.
-- @tparam string path of the file
-- @tparam ?table opts `owner_only` (false): nobody else can read the file, when it is made
-- @treturn ?userdata log
-- @treturn ?string message
files.open_log = core.files.open_log

--- XXH3-128 of a file, 32 hexadecimal digits.
-- @tparam string path of the file
-- @treturn ?string 32 hexadecimal digits
-- @treturn ?string message
files.hash = core.files.hash

--- XXH3-128 of a string.
-- @tparam string text any bytes
-- @treturn string 32 hexadecimal digits
files.hash_string = core.files.hash_string

--- XXH3-128 over names, dtypes, shapes and bytes of tensors, in the order of their names.
-- @tparam {[string]=Tensor} tensors by name, of any shape [...] and dtype
-- @treturn string 32 hexadecimal digits
files.hash_tensors = core.files.hash_tensors

--- Makes a folder and those above it, as far as they are missing.
-- @tparam string path of the folder
-- @treturn ?boolean true
-- @treturn ?string message
files.folder_make = core.files.folder_make

--- Removes a folder and all that is in it; symbolic links are not followed. Fine when there is
-- none. The folder goes away as a whole: it is renamed aside first.
-- @tparam string path of the folder
-- @treturn ?boolean true
-- @treturn ?string message
files.folder_remove = core.files.folder_remove

--- Makes a temporary folder beside `path`, to be filled and committed.
-- @tparam string path the name the folder shall have at last
-- @treturn ?string its name for now
-- @treturn ?string message
files.folder_begin = core.files.folder_begin

--- Syncs every file, writes `manifest.json`, renames the folder to `path` (in one step with what
-- stood there), syncs the folder above. On failure the temporary folder is removed.
-- @tparam string tmp what `files.folder_begin` gave
-- @tparam string path the name the folder shall have
-- @treturn ?boolean true
-- @treturn ?string message
files.folder_commit = core.files.folder_commit

--- Holds a committed folder against its manifest.
-- @tparam string path of the folder
-- @treturn ?boolean true
-- @treturn ?string message that names the first damaged file
files.folder_verify = core.files.folder_verify

--- Whether a folder is as it was written, if it says how that was: one without a manifest is taken
-- as it is.
-- @tparam string path of the folder
-- @treturn ?boolean true
-- @treturn ?string what is damaged, and what to do
function files.folder_sound(path)
  if not lfs.attributes(path .. "/manifest.json") then return true end
  local sound, damage = files.folder_verify(path)
  if sound then return true end
  return nil,
    ("%s (if its files were changed on purpose, remove %s/manifest.json)"):format(damage, path)
end

--- Removes a temporary folder of folder_begin; no other folder.
-- @tparam string tmp what `files.folder_begin` gave
-- @treturn ?boolean true
-- @treturn ?string message
files.folder_discard = core.files.folder_discard

--- Removes from a folder the temporary files and folders of processes of this machine that were
-- killed. Writing a file or a folder anew does the same for what stands beside its name.
-- @tparam string path of the folder
files.folder_sweep = core.files.folder_sweep

--- Writes a folder whole or not at all: `fill` writes its files into a temporary one, which then
-- takes the name. An error of `fill` goes on to the caller when that one is removed.
-- @tparam string path the name the folder shall have
-- @tparam function fill (tmp) -> true, or nil and a message
-- @treturn ?boolean true
-- @treturn ?string message
function files.folder_write(path, fill)
  local tmp, message = files.folder_begin(path)
  if not tmp then return nil, message end
  local guard <close> = setmetatable({}, { -- luacheck: ignore 211
    __close = function() return tmp and files.folder_discard(tmp) end,
  })
  local filled, wrong = fill(tmp)
  if not filled then return nil, wrong end
  local unfinished = tmp
  tmp = nil -- a commit that fails removes it itself
  return files.folder_commit(unfinished, path)
end

--- Test hook: the k-th input/output call from now on fails.
-- @tparam integer k 0 turns the hook off
-- @tparam ?string kind EIO, ENOSPC, EDQUOT, EINTR or short (half of the bytes move) (default:
--   "EIO")
-- @tparam ?boolean forever all later calls fail too (default: false)
files.io_fail_at = core.files.io_fail_at

--- Input/output calls of this module since the start.
-- @treturn integer a count: calls of the system that open, read, write, sync or rename
files.io_calls = core.files.io_calls

--- `load(path, {only = names}) -> {name = tensor}, metadata`, `names(path) -> names, info,
-- metadata`, `save(path, {name = tensor}, metadata) -> true`. `path` may be a
-- `model.safetensors.index.json`. float16 and bfloat16 are loaded as float32.
-- `open(path) -> file` reads tensors one by one: `file:names() -> names, info`, `file:load(name,
-- keep) -> tensor` (`keep`: in the file's own type), `file:close()`, also by `<close>`.
-- @type table
files.safetensors = core.safetensors

--- `load(path) -> config, {name = tensor}`: a llama2.c checkpoint, in Hugging Face's names.
-- @type table
files.llama2c = core.llama2c

--- `open(path) -> file`: a GGUF file, with the methods of `safetensors.open`. And `file:keys()`
-- lists its entries, `file:get(key)` is the value of one (a list for a list, nil: there is none).
-- `save(path, {{key, type, value}, ...}, {name = tensor}) -> true` writes one; types are u32, i32,
-- f32, bool and text, and a list is a table of one type.
-- @type table
files.gguf = core.gguf

--- Reads and decodes a JSON file.
-- @tparam string path of the file
-- @tparam ?table opts as of `json.decode`
-- @treturn any the value
-- @treturn ?string message that names the file; the value is nil then
function files.read_json(path, opts)
  local text, message = files.read(path)
  if text == nil then return nil, message end
  local value
  value, message = json.decode(text, opts)
  if value == nil then return nil, ("'%s': %s"):format(path, message) end
  return value
end

--- Writes a JSON file, atomically, indented, with a newline at its end.
-- @tparam string path of the file
-- @tparam any value as of `json.encode`
-- @tparam ?table opts `finite` (false) as of `json.encode`
-- @treturn ?boolean true
-- @treturn ?string message
function files.write_json(path, value, opts)
  local finite = opts ~= nil and opts.finite
  return files.write_atomic(path, json.encode(value, { pretty = true, finite = finite }) .. "\n")
end

--- The folder of what can be had again: $XDG_CACHE_HOME/perilune, else ~/.cache/perilune. It need
-- not be there yet.
-- @treturn ?string nil when no variable names one
-- @treturn ?string message
function files.cache_folder()
  local base, home = os.getenv("XDG_CACHE_HOME"), os.getenv("HOME")
  if base and base:sub(1, 1) == "/" then return base .. "/perilune" end
  if home and home ~= "" then return home .. "/.cache/perilune" end
  return nil, "no cache folder: neither XDG_CACHE_HOME nor HOME names one"
end

return files
