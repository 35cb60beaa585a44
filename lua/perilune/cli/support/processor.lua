--- The processor as Linux describes it: what figures are printed with.

local processor = {}

--- @treturn {[string]=boolean} flags of its instruction sets; empty where there are none to read
-- @treturn string its model's name
function processor.read()
  local flags, model = {}, "unknown processor"
  local file = io.open("/proc/cpuinfo")
  if file then
    for line in file:lines() do
      model = line:match("^model name%s*:%s*(.+)$") or model
      local list = line:match("^flags%s*:%s*(.+)$")
      if list then
        for flag in list:gmatch("%S+") do
          flags[flag] = true
        end
        break
      end
    end
    file:close()
  end
  return flags, model
end

return processor
