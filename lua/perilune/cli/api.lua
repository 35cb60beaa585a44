--- `perilune api [--luacats]`: the library's public functions as Markdown, from the comments of its
-- sources.
--
-- With --luacats they are declarations for lua-language-server.
--
-- docs/api.md and docs/luacats/perilune.lua are its output; a test fails when they are not what the
-- program says.

local luacats = require("perilune.reference.luacats")
local markdown = require("perilune.reference.markdown")
local public = require("perilune.reference.public")

return function(args)
  if args[1] == "--luacats" and not args[2] then
    io.stdout:write(luacats.declarations(public.read()))
  elseif args[1] then
    local message = "perilune api: it takes --luacats alone, not '%s'; one op: perilune help NAME\n"
    io.stderr:write(message:format(table.concat(args, " ")))
    return 1
  else
    io.stdout:write(markdown.page(public.read()))
  end
  return 0
end
