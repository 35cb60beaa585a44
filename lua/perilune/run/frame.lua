--- The variables of code that has called us and waits, by name: read and set.
--
--     local view = frame.of(debug.getinfo(2, "f").func)   -- of the caller, while it waits
--     view:get("policy")                                   --> true, the model
--     view:set("lexicon", other)                           --> true; or nil and why not
--
-- Local variables come first, those of inner blocks before those they hide; then what the function
-- sees of the functions around it; then other functions of its file that wait too. A loop's own
-- counter and what is closed at the end of its block cannot be set.

local frame = {}

local Frame = {}
Frame.__index = Frame

--- A view of a function that waits on the running thread.
-- @tparam function fn
-- @treturn table the view
function frame.of(fn)
  local source = debug.getinfo(fn, "S").source
  return setmetatable({ fn = fn, source = source, thread = coroutine.running() }, Frame)
end

-- Why a local variable may not be set; nil when it may. `before` are the names of those declared
-- before it.
local function why_not(value, before)
  local n = #before
  if before[n] == "(for state)" and before[n - 1] == "(for state)" then
    return "is the counter of a loop, which goes on with its own"
  end
  local meta = debug.getmetatable(value)
  if type(meta) == "table" and rawget(meta, "__close") then
    return "is closed at the end of its block and must stay what it is"
  end
end

-- Calls visit(name, value, level, index, why) for the variables of the frames, the nearest first,
-- until it gives something. Of upvalues `level` is the function. Levels are as this function's
-- caller has to give them to debug.
local function each(self, visit)
  local thread = self.thread
  local own, started = coroutine.running() == thread, false
  local level = own and 2 or 0
  while true do
    local info = debug.getinfo(thread, level, "fS")
    if not info then return end
    started = started or info.func == self.fn
    if started and info.source == self.source then
      local names, values = {}, {}
      for i = 1, math.huge do
        local name, value = debug.getlocal(thread, level, i)
        if not name then break end
        names[i], values[i] = name, value
      end
      for i = #names, 1, -1 do
        local why = why_not(values[i], table.move(names, 1, i - 1, 1, {}))
        local hidden = names[i]:sub(1, 1) == "("
        if not hidden and visit(names[i], values[i], own and level - 1 or level, i, why) then
          return
        end
      end
      for i = 1, math.huge do
        local name, value = debug.getupvalue(info.func, i)
        if not name then break end
        if name ~= "_ENV" and visit(name, value, info.func, i) then return end
      end
    end
    level = level + 1
  end
end

--- The value of a variable.
-- @tparam string name
-- @treturn boolean whether there is one
-- @treturn any its value
function Frame:get(name)
  local found, value = false, nil
  each(self, function(one, its)
    if one == name then
      found, value = true, its
      return true
    end
  end)
  return found, value
end

--- Sets a variable.
-- @tparam string name
-- @tparam any value
-- @treturn ?boolean true; false when there is none of this name; nil when it may not be set
-- @treturn ?string then why not
function Frame:set(name, value)
  local at, index, refused
  each(self, function(one, _, level, i, why)
    if one == name then
      at, index, refused = level, i, why
      return true
    end
  end)
  if not at then return false end
  if refused then return nil, ("%s %s"):format(name, refused) end
  if type(at) == "function" then
    debug.setupvalue(at, index, value)
  else
    debug.setlocal(self.thread, at, index, value)
  end
  return true
end

--- All variables by name; of two with one name the nearest.
-- @treturn {[string]=any}
function Frame:all()
  local values = {}
  each(self, function(name, value)
    if values[name] == nil then values[name] = value end
  end)
  return values
end

return frame
