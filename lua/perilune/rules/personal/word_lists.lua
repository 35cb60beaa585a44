--- The word lists of the personal-data rule: text files in the folder lists/ beside this module.
--
-- In a file, `[section]` on a line of its own begins a list, the lines below it are words between
-- white space, and a line that starts with `#` is a comment: it says where the words come from and
-- why they are listed. A file is read once a process; nobody writes to what comes back.

local word_lists = {}

local files = require("perilune.base.files")

-- `require` hands a module the path it was found at.
local folder = select(2, ...):match("^(.*[/\\])") or ""

local read_already = {}

--- The lists of a text.
-- @tparam string text
-- @tparam string name what errors call it
-- @treturn {[string]={[string]=boolean}} the words of each section as a set; to ask for a section
--   that the text does not have is an error
function word_lists.parse(text, name)
  local sections = setmetatable({}, {
    __index = function(_, section)
      error(("personal data: %s has no section [%s]"):format(name, section), 2)
    end,
  })
  local words
  for line in text:gmatch("[^\n]+") do
    local section = line:match("^%[([%w_]+)%]$")
    if section then
      words = {}
      sections[section] = words
    elseif line:sub(1, 1) ~= "#" then
      for word in line:gmatch("%S+") do
        if not words then
          error(("personal data: %s has the word %q above its first section"):format(name, word), 2)
        end
        words[word] = true
      end
    end
  end
  return sections
end

--- The lists of the file lists/`name`.txt.
-- @tparam string name
-- @treturn {[string]={[string]=boolean}} as from `parse`
function word_lists.read(name)
  if not read_already[name] then
    local path = folder .. "lists/" .. name .. ".txt"
    local text, message = files.read(path)
    if not text then error("personal data: a word list cannot be read: " .. message, 2) end
    read_already[name] = word_lists.parse(text, path)
  end
  return read_already[name]
end

return word_lists
