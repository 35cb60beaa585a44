--- `perilune docs [FOLDER]`: the documentation as a site of static pages.
--
-- FOLDER is made, or made anew; without one it is site/ in the current folder. The pages need no
-- server and no network, and can be read without script; with it there is a search (press /).
-- Markdown becomes HTML by the program cmark-gfm, which ./perilune installs on Debian.

local format = require("perilune.base.format")
local host = require("perilune.host")
local lfs = require("lfs")
local site = require("perilune.reference.site")

local function fail(message)
  io.stderr:write("perilune docs: ", message, "\n")
  return 1
end

-- Where README.md and docs/ are: in a checkout, or where an installed tree has them.
local function sources()
  for _, place in ipairs { "", "/../doc/perilune" } do
    local root = host.root .. place
    if lfs.attributes(root .. "/docs/recipes.md", "mode") then return root end
  end
end

return function(args)
  local folder = args[1] or "site"
  if args[2] or folder:sub(1, 1) == "-" then
    return fail("it takes one folder; usage: perilune docs [FOLDER]")
  end
  local root = sources()
  if not root then return fail("there is no documentation beside this program") end
  local pages, message = site.build(root, (folder:gsub("(.)/+$", "%1")))
  if not pages then return fail(format.safe(message)) end
  print(("%d pages: %s/index.html"):format(pages, format.safe(folder)))
  return 0
end
