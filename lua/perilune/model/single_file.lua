--- Models that are one file: a GGUF file, llama2.c's .bin. Their folder may be named in their
-- place, when it holds no config.json and one such file alone; of several none is guessed.

local lfs = require("lfs")

local single_file = {}

--- The file with an ending that is the model.
-- @tparam string path that was given
-- @tparam string ending a pattern: "%.gguf$"
-- @treturn ?string the path itself, or the file in its folder; nil: it is something else
-- @treturn ?string message, when the folder holds several
function single_file.find(path, ending)
  if path:match(ending) then return path end
  if lfs.attributes(path, "mode") ~= "directory" or lfs.attributes(path .. "/config.json") then
    return nil
  end
  local names = {}
  for name in lfs.dir(path) do
    if name:match(ending) and not name:match("^tok") then names[#names + 1] = name end
  end
  table.sort(names)
  if #names > 1 then
    local text = "%s holds %d models, %s: give the path of one"
    return nil, text:format(path, #names, table.concat(names, ", "))
  end
  return names[1] and path .. "/" .. names[1]
end

--- Why a path is no model at all; nil when it may be one.
-- @tparam string path
-- @treturn ?string
function single_file.stranger(path)
  if lfs.attributes(path, "mode") ~= "file" then return nil end
  return path .. " is a file: a model is a folder with a config.json, a .gguf or a .bin file"
end

return single_file
