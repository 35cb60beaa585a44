--- A table of modules that are loaded at first use.
-- @tparam table fields what the table holds at once
-- @tparam table modules {name = module path}
-- @treturn table `fields`, in which each name of `modules` gives its module
return function(fields, modules)
  return setmetatable(fields, {
    __names = modules, -- for completion, before they are loaded
    __index = function(self, name)
      local path = modules[name]
      if path == nil then return nil end
      local module = require(path)
      rawset(self, name, module)
      return module
    end,
  })
end
