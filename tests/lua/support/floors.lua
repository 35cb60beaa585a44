--- The laws of the house, as functions from texts to lists of faults, and a picture of its floors.
--
--   recipes -> lua/perilune -> lua/bind -> include/perilune.h -> engine/*
--
-- A law takes a table of texts by path, so that the tests can hand it one with a fault.

local sources = dofile("tests/lua/support/sources.lua")

local floors = { sources = sources }

--- Floors of the engine, from below. A room uses lower floors; rooms of one floor are apart.
floors.engine = {
  { "base" },
  { "tensor", "kernels" },
  { "ops" },
  { "graph" },
  { "train", "gen", "io", "store", "net" },
  { "text" },
  { "context" },
}

local floor_of = {}
for number, rooms in ipairs(floors.engine) do
  for _, room in ipairs(rooms) do
    floor_of[room] = number
  end
end

--- Ways round the engine's door to files: writing, renaming, removing, making folders.
function floors.file_faults(path, text)
  local found = {}
  for call in text:gmatch("io%.open(%b())") do
    if call:find(',%s*"[wa][^"]*"%s*%)$') then
      found[#found + 1] = path .. ": io.open for writing"
    end
  end
  for _, name in ipairs { "lfs.mkdir", "lfs.rmdir", "os.remove", "os.rename" } do
    if text:find(name, 1, true) then found[#found + 1] = ("%s: %s"):format(path, name) end
  end
  return found
end

local function sorted(keys)
  local list = {}
  for key in pairs(keys) do
    list[#list + 1] = key
  end
  table.sort(list)
  return list
end

local function add(faults, path, line, text, ...)
  faults[#faults + 1] = ("%s:%d: "):format(path, line) .. text:format(...)
end

--- Circles of a graph {node -> {node -> true}}, as "a -> b -> a": some, or none if there is none.
function floors.circles(graph)
  local state, trail, found = {}, {}, {}
  local function visit(node)
    state[node] = "open"
    trail[#trail + 1] = node
    for _, to in ipairs(sorted(graph[node] or {})) do
      if state[to] == "open" then
        local from = #trail
        while trail[from] ~= to do
          from = from - 1
        end
        found[#found + 1] = table.concat(trail, " -> ", from) .. " -> " .. to
      elseif not state[to] then
        visit(to)
      end
    end
    trail[#trail] = nil
    state[node] = "done"
  end
  for _, node in ipairs(sorted(graph)) do
    if not state[node] then visit(node) end
  end
  return found
end

-- C -------------------------------------------------------------------------------------------

local function room_of(path) return path:match("^engine/(%w+)/") end

-- A header and the file of its name are one subject.
local function subject(path) return (path:gsub("%.[ch]$", "")) end

-- All files, and the file of each name that others can use.
local function read_c(texts)
  local files, home = {}, {}
  for _, path in ipairs(sorted(texts)) do
    local file = sources.c(path, texts[path])
    files[#files + 1] = file
    for name in pairs(file.defines) do
      if name:find("^pl_") or name:find("^lb_") or name:find("^K__") or name:find("^OPI__") then
        home[name] = path
      end
    end
  end
  return files, home
end

-- The room of a name: where it is defined, or for those made by macros the room of its kind.
local function room_of_name(home, name)
  if home[name] then return room_of(home[name]) end
  return name:find("^K__") and "kernels" or name:find("^OPI__") and "ops" or nil
end

--- Includes and uses of functions and values that go up, or across a floor.
function floors.engine_faults(texts)
  local faults = {}
  local files, home = read_c(texts)
  for _, file in ipairs(files) do
    local own = room_of(file.path)
    if not floor_of[own] then
      add(faults, file.path, 1, "this room stands on no floor (tests/lua/support/floors.lua)")
    end
    local function check(line, room, what)
      if room and room ~= own and floor_of[room] and floor_of[room] >= (floor_of[own] or 0) then
        add(faults, file.path, line, "%s may not use %s of %s", own, what, room)
      end
    end
    for _, include in ipairs(file.includes) do
      local name, line = include[1], include[2]
      if name:find("^l[ua]%w*%.h$") then add(faults, file.path, line, "the engine knows no Lua") end
      check(line, name:match("^(%w+)/"), name)
    end
    for _, name in ipairs(sorted(file.uses)) do
      check(file.uses[name], room_of_name(home, name), name)
    end
  end
  return faults
end

--- Circles of files through what they use of each other.
function floors.c_circles(texts)
  local graph = {}
  local files, home = read_c(texts)
  for _, file in ipairs(files) do
    local own = subject(file.path)
    graph[own] = graph[own] or {}
    for name in pairs(file.uses) do
      local other = home[name] and subject(home[name])
      if other and other ~= own then graph[own][other] = true end
    end
  end
  return floors.circles(graph)
end

--- C files of the engine that share a name, unless one is the kernels of the other's subject.
function floors.c_names(paths)
  local seen, faults = {}, {}
  for _, path in ipairs(paths) do
    local name = path:match("([^/]+)%.c$")
    if name then
      local other = seen[name]
      if other and (room_of(other) == "kernels") == (room_of(path) == "kernels") then
        add(faults, path, 1, "%s has the same name", other)
      end
      seen[name] = path
    end
  end
  return faults
end

--- Includes of the bindings that reach into the engine: perilune.h is all they may see.
function floors.bind_faults(texts)
  local faults = {}
  for _, path in ipairs(sorted(texts)) do
    for _, include in ipairs(sources.c(path, texts[path]).includes) do
      if floor_of[include[1]:match("^(%w+)/") or ""] then
        add(faults, path, include[2], "bindings may not include %s", include[1])
      end
    end
  end
  return faults
end

-- Lua -----------------------------------------------------------------------------------------

local LIBRARY = "lua/perilune/"
local FACE = "perilune" -- the public face, lua/perilune/init.lua: it may use every room
local MADE_IN_C = { -- lua/bind and lua/host; every room may use them
  ["perilune.core"] = true,
  ["perilune.host"] = true,
  ["perilune.lineedit"] = true,
}

-- "lua/perilune/data/chat/init.lua" -> "perilune.data.chat"
local function module_of(path)
  local name = path:match("^lua/(.*)%.lua$"):gsub("/init$", ""):gsub("/", ".")
  return name
end

local function room_of_module(name)
  return name:match("^perilune%.([%w_]+)") or name == "perilune" and FACE or nil
end

local function modules_of(texts)
  local modules = {}
  for path in pairs(texts) do
    modules[module_of(path)] = path
  end
  return modules
end

--- What each room may use: {room -> {room -> true}} from the line "-- May use: a, b." of its head,
-- which may go on in the next.
function floors.declared(texts)
  local rooms, faults = {}, {}
  for path in pairs(texts) do
    local room = path:match("^" .. LIBRARY .. "([%w_]+)/")
    if room then rooms[room] = {} end
  end
  for _, room in ipairs(sorted(rooms)) do
    local path = LIBRARY .. room .. "/init.lua"
    local list = ("\n" .. (texts[path] or "")):match("\n%-%- May use: ([%w_,%s%-]+)%.\n")
    if not list then
      add(faults, path, 1, "the head has no line '-- May use: <rooms>.'")
    elseif list ~= "nothing" then
      for name in list:gmatch("[%w_]+") do
        rooms[room][name] = true
        if name ~= FACE and not rooms[name] then
          add(faults, path, 1, "there is no room %s", name)
        end
      end
    end
  end
  return rooms, faults
end

-- The library's modules that a file names: {module -> line}. `unread` gets what cannot be read.
local function modules_named(file, modules, unread)
  local found = {}
  for _, name in ipairs(file.names) do
    if name.beginning then
      local known = false
      for module in pairs(modules) do
        if module ~= FACE and module:sub(1, #name.text) == name.text and name.text:find("%.") then
          found[module], known = found[module] or name.line, true
        end
      end
      if name.required and not known then
        unread(name.line, ("'%s' ..: a name that cannot be read"):format(name.text))
      end
    elseif modules[name.text] and (name.required or name.text ~= FACE) then
      found[name.text] = found[name.text] or name.line
    elseif name.required and name.text:find("^perilune%.") and not MADE_IN_C[name.text] then
      unread(name.line, ("there is no module %s"):format(name.text))
    end
  end
  return found
end

--- Arrows between rooms that no head allows, names that cannot be read, and circles: of the rooms
-- as declared and as found, and of the modules.
function floors.library_faults(texts)
  local declared, faults = floors.declared(texts)
  local modules = modules_of(texts)
  local module_graph, room_graph = {}, {}
  for _, path in ipairs(sorted(texts)) do
    local own = module_of(path)
    local room = room_of_module(own)
    local named = modules_named(
      sources.lua(path, texts[path]),
      modules,
      function(line, text) add(faults, path, line, "%s", text) end
    )
    named[own] = nil
    module_graph[own] = named
    room_graph[room] = room_graph[room] or {}
    for _, name in ipairs(sorted(named)) do
      local other = room_of_module(name)
      if other ~= room then
        room_graph[room][other] = true
        if room ~= FACE and not declared[room][other] then
          add(
            faults,
            path,
            named[name],
            "%s may not use %s (its head does not name %s)",
            room,
            name,
            other
          )
        end
      end
    end
  end
  declared[FACE] = room_graph[FACE]
  local graphs = { heads = declared, rooms = room_graph, modules = module_graph }
  for _, what in ipairs { "heads", "rooms", "modules" } do
    for _, circle in ipairs(floors.circles(graphs[what])) do
      faults[#faults + 1] = ("a circle of %s: %s"):format(what, circle)
    end
  end
  return faults
end

--- Modules of the library that share a name; those of cli/ are named after their commands.
function floors.library_names(paths)
  local seen, faults = {}, {}
  for _, path in ipairs(paths) do
    local name = path:match("([^/]+)/init%.lua$") or path:match("([^/]+)%.lua$")
    if not path:find("^" .. LIBRARY .. "cli/") then
      if seen[name] then add(faults, path, 1, "%s has the same name", seen[name]) end
      seen[name] = path
    end
  end
  return faults
end

--- Names of the face that the engine has too, as an op or another function.
-- @tparam string text of lua/perilune/init.lua
-- @tparam table core the engine's table
function floors.face_faults(text, core)
  local faults = {}
  local function check(name, place)
    if type(core[name]) == "function" then
      local line = select(2, text:sub(1, place):gsub("\n", "")) + 1
      add(faults, LIBRARY .. "init.lua", line, "pl.%s is a function of the engine already", name)
    end
  end
  for place, name in text:gmatch('()%f[%w_]([%w_]+) = "perilune%.') do
    check(name, place)
  end
  for place, name in text:gmatch("()\nfunction pl%.([%w_]+)") do
    check(name, place)
  end
  return faults
end

--- What a recipe may require: the face, LuaFileSystem, and its neighbours.
function floors.recipe_faults(texts)
  local faults = {}
  for _, path in ipairs(sorted(texts)) do
    for _, name in ipairs(sources.lua(path, texts[path]).names) do
      local module = name.text
      local neighbour = texts["recipes/" .. module:gsub("%.", "/") .. ".lua"]
      if name.required and module ~= FACE and module ~= "lfs" and not neighbour then
        add(faults, path, name.line, "a recipe may not require %s", module)
      end
    end
  end
  return faults
end

-- The picture ---------------------------------------------------------------------------------

local function lines_of_rooms(files, room)
  local count = {}
  for _, file in ipairs(files) do
    local name = room(file.path)
    count[name] = (count[name] or 0) + file.lines
  end
  return count
end

local function longest(list)
  table.sort(list, function(a, b) return a[1] > b[1] or a[1] == b[1] and a[2] < b[2] end)
  return ("%s, %d lines"):format(list[1][2], list[1][1])
end

local function put_row(out, room, lines, uses)
  out[#out + 1] = ("  %-10s %6d  %s"):format(room, lines, table.concat(sorted(uses), " "))
end

-- What each room of the engine includes or uses of others.
local function engine_graph(files, home)
  local graph = {}
  for _, file in ipairs(files) do
    local own = room_of(file.path)
    graph[own] = graph[own] or {}
    for _, include in ipairs(file.includes) do
      local room = include[1]:match("^(%w+)/")
      graph[own][floor_of[room or ""] and room or own] = true
    end
    for name in pairs(file.uses) do
      graph[own][room_of_name(home, name) or own] = true
    end
    graph[own][own] = nil
  end
  return graph
end

local function picture_of_engine(out, texts)
  local files, home = read_c(texts)
  local graph, lines = engine_graph(files, home), lines_of_rooms(files, room_of)
  local long_files, long_functions = {}, {}
  for number = #floors.engine, 1, -1 do
    out[#out + 1] = ("floor %d"):format(number - 1)
    for _, room in ipairs(floors.engine[number]) do
      put_row(out, room, lines[room], graph[room])
    end
  end
  for _, file in ipairs(files) do
    long_files[#long_files + 1] = { file.lines, file.path }
    for _, fn in ipairs(file.functions) do
      long_functions[#long_functions + 1] = { fn[2], fn[1] .. " in " .. file.path }
    end
  end
  out[#out + 1] = "longest file: " .. longest(long_files)
  out[#out + 1] = "longest function: " .. longest(long_functions)
end

-- Height of each node of a graph without circles: 0 for those that use none.
local function heights(graph)
  local height = {}
  local function of(node)
    if not height[node] then
      height[node] = 0
      for other in pairs(graph[node] or {}) do
        height[node] = math.max(height[node], of(other) + 1)
      end
    end
    return height[node]
  end
  for node in pairs(graph) do
    of(node)
  end
  return height
end

local function picture_of_library(out, texts)
  local files, modules, graph, long_files = {}, modules_of(texts), {}, {}
  local function room(path) return room_of_module(module_of(path)) end
  for _, path in ipairs(sorted(texts)) do
    local file = sources.lua(path, texts[path])
    local own = room(path)
    files[#files + 1] = file
    long_files[#long_files + 1] = { file.lines, path }
    graph[own] = graph[own] or {}
    for name in pairs(modules_named(file, modules, function() end)) do
      graph[own][room_of_module(name)] = true
    end
    graph[own][own] = nil
  end
  local height, lines, top = heights(graph), lines_of_rooms(files, room), 0
  for _, at in pairs(height) do
    top = math.max(top, at)
  end
  for number = top, 0, -1 do
    out[#out + 1] = ("floor %d"):format(number)
    for _, name in ipairs(sorted(graph)) do
      if height[name] == number then put_row(out, name, lines[name], graph[name]) end
    end
  end
  out[#out + 1] = "longest file: " .. longest(long_files)
end

--- The floors as text: rooms from the top, their lines, and which other rooms each uses.
function floors.picture()
  local out = { "engine/" }
  picture_of_engine(out, sources.texts("engine", "%.[ch]$"))
  out[#out + 1] = "\nlua/perilune/"
  picture_of_library(out, sources.texts("lua/perilune", "%.lua$"))
  return table.concat(out, "\n")
end

return floors
