--- Unknown names of modules and objects: an error with the nearest name instead of nil, which would
-- only be noticed where it is called.

local nearest = require("perilune.base.nearest")

local members = {}

local function names_of(...)
  local names = {}
  for _, from in ipairs { ... } do
    for name in pairs(from) do
      if type(name) == "string" then names[#names + 1] = name end
    end
  end
  return names
end

--- The function for __index of a module that is not there.
-- @tparam string what it is called, `pl.data`
-- @tparam table ... tables whose keys are the names there are
-- @treturn function (table, name), which raises for a text and gives nil for any other key
function members.unknown(what, ...)
  local from = { ... }
  return function(_, name)
    if type(name) ~= "string" or name:find("^__") then return nil end
    local hint = nearest.hint(name, names_of(table.unpack(from)))
    error(("%s has no '%s'%s"):format(what, name, hint), 2)
  end
end

--- Objects of a class may lack some of their fields, so an unknown name is nil as in any table; but
-- one that is nearly a method's was meant to be that, and raises.
-- @tparam table class whose methods are its fields; its __index is itself
-- @tparam string what an object is called, `a Model`
-- @tparam {string,...} fields names that may be nil
function members.guard(class, what, fields)
  local may_be_nil = {}
  for _, name in ipairs(fields) do
    may_be_nil[name] = true
  end
  setmetatable(class, {
    __index = function(_, name)
      if may_be_nil[name] or type(name) ~= "string" or name:find("^_") then return nil end
      local meant = nearest.find(name, names_of(class))
      if meant and not meant:find("^_") then
        error(("%s has no '%s'; did you mean '%s'?"):format(what, name, meant), 2)
      end
    end,
  })
end

return members
