--- Links between pages of Markdown: the anchors of headings, and links that lead nowhere.
--
-- Anchors are those of GitHub: the heading's text in lower case, blanks as "-", without
-- punctuation; a second one of the same text gets "-1".

local lfs = require("lfs")

local links = {}

--- The anchor of a heading.
-- @tparam string heading its text, as Markdown
-- @treturn string
function links.anchor(heading)
  local text = heading:gsub("%[(.-)%]%(.-%)", "%1"):gsub("`", ""):lower()
  return (text:gsub("[^%w%s_\x80-\xFF-]", ""):gsub("%s", "-"))
end

-- The lines of a page that are no code.
local function prose_of(path)
  local lines, code = {}, false
  for line in io.lines(path) do
    if line:find("^%s*```") then
      code = not code
    elseif not code then
      lines[#lines + 1] = line
    end
  end
  return lines
end

--- The anchors of a page.
-- @tparam string path
-- @treturn {[string]=boolean}
function links.anchors(path)
  local found, count = {}, {}
  for _, line in ipairs(prose_of(path)) do
    local heading = line:match("^#+%s+(.-)%s*#*$")
    if heading then
      local anchor = links.anchor(heading)
      local times = count[anchor] or 0
      count[anchor] = times + 1
      found[times > 0 and anchor .. "-" .. times or anchor] = true
    end
  end
  return found
end

-- What is wrong with a link of a page in `folder`; nil: nothing.
local function fault_of(page, folder, target)
  if target:find("^%a+:") then return nil end
  local file, anchor = target:match("^([^#]*)#?(.*)$")
  local path = file == "" and page or folder .. file
  if not lfs.attributes(path, "mode") then return "there is no such file" end
  if anchor ~= "" and not links.anchors(path)[anchor] then return "there is no such heading" end
end

--- Links that lead nowhere.
-- @tparam {string,...} pages paths of Markdown files
-- @treturn {string,...} "page: target: what is wrong"
function links.faults(pages)
  local faults = {}
  for _, page in ipairs(pages) do
    local folder = page:match("^(.*/)[^/]*$") or ""
    for _, line in ipairs(prose_of(page)) do
      for target in line:gsub("`[^`]*`", ""):gmatch("%]%(([^)%s]+)%)") do
        local fault = fault_of(page, folder, target)
        if fault then faults[#faults + 1] = ("%s: %s: %s"):format(page, target, fault) end
      end
    end
  end
  return faults
end

return links
