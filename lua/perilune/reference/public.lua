--- The public face as its sources describe it: the modules that lua/perilune/init.lua names, room
-- by room, with their functions and values, and the classes that these take and give.
--
-- What is public: all of a public module's own table; of classes, those that stand in a type of
-- something public. A function of another module that a public one hands on (`take = list.take`)
-- is described where it is written.

local lfs = require("lfs")

local doc_comments = require("perilune.reference.doc_comments")
local type_names = require("perilune.reference.type_names")

local FACE <const> = (...):match("^%w+") -- the library's own name
local ENGINE <const> = FACE .. ".reference.engine"

local public = {}

local lua_types = {}
for name in ("any boolean function integer number string table userdata"):gmatch("%a+") do
  lua_types[name] = true
end

local function read_file(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("a")
  file:close()
  return text
end

-- The modules of a folder and of those in it, by name: their paths.
local function find_modules(folder, prefix, into)
  for name in lfs.dir(folder) do
    local path = folder .. "/" .. name
    local stem = name:match("^(.+)%.lua$")
    if stem == "init" then
      into[prefix] = path
    elseif stem then
      into[prefix .. "." .. stem] = path
    elseif name:sub(1, 1) ~= "." and lfs.attributes(path, "mode") == "directory" then
      find_modules(path, prefix .. "." .. name, into)
    end
  end
  return into
end

-- The modules that the face, or a module of it, has as its fields, many loaded at first use:
-- {name = module}.
local function modules_in(text, files, own)
  local names = {}
  local list = text:match("\nlocal modules = (%b{})") or text:match("\nreturn lazy%([%w_]+, (%b{})")
  for name, module in (list or ""):gmatch('([%w_]+) = "([%w_.]+)"') do
    names[name] = module
  end
  for _, alias in ipairs(files[own].aliases) do
    local into, name, other, field = table.unpack(alias, 1, 4)
    if into == files[own].returned and field == "" and files[other] and files[other].returned then
      names[name] = other
    end
  end
  return names
end

local function sorted(list)
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

-- What stands in a table of a file under its own name or another module's.
local function members(files, module, owner)
  local file, found, list = files[module], {}, {}
  local function add(name, item, from)
    if not found[name] and not name:find("^_") then
      found[name] = true
      list[#list + 1] = { name = name, item = item, module = from }
    end
  end
  for _, item in ipairs(file.items) do
    if
      item.owner == owner
      and not item.is_local
      and (item.kind == "function" or item.kind == "value")
    then
      add(item.name, item, module)
    end
  end
  for _, alias in ipairs(file.aliases) do
    local into, name, other, field = table.unpack(alias, 1, 4)
    for _, item in ipairs(into == owner and files[other] and files[other].items or {}) do
      if item.name == field and item.owner == files[other].returned and item.kind then
        add(name, item, other)
      end
    end
  end
  return sorted(list)
end

local function types_in(item, each)
  for _, node in ipairs(item.types) do
    type_names.each(node, each)
  end
end

-- All classes by name: {name, module, item, methods}.
local function find_classes(files)
  local classes = {}
  for module, file in pairs(files) do
    for _, item in ipairs(file.items) do
      if item.class then
        classes[item.class] = {
          name = item.class,
          module = module,
          item = item,
          methods = members(files, module, item.name),
        }
      end
    end
  end
  return classes
end

-- Marks the classes that stand in the types of some members, and those that stand in theirs.
local function reach(list, classes, reached)
  local function see(name)
    if classes[name] and not reached[name] then
      reached[name] = classes[name]
      types_in(classes[name].item, see)
      reach(classes[name].methods, classes, reached)
    end
  end
  for _, member in ipairs(list) do
    types_in(member.item, see)
  end
end

local function room_of(module) return module:match("^perilune%.([%w_]+)") or "" end

--- The public face.
-- @treturn table `modules`, a list sorted by name of {name, module, room, head, members (a list of
--   {name, item, module})}, the first of them the face itself, `pl`; `classes`, a list of {name,
--   module, room, item, methods} sorted by name; `rooms` {name = head}; `files` {module = what
--   `doc_comments.read` gives}; `paths` {module = path}
function public.read()
  local top = assert(package.searchpath(FACE, package.path))
  local paths, files = find_modules(top:match("^(.*)/init%.lua$"), FACE, {}), {}
  for module, path in pairs(paths) do
    files[module] = doc_comments.read(read_file(path))
  end
  local face = { modules = {}, classes = {}, rooms = {}, files = files, paths = paths }
  local classes, reached = find_classes(files), {}
  local function add_module(name, module)
    local file, room = files[module], room_of(module)
    face.modules[#face.modules + 1] = {
      name = name,
      module = module,
      room = room,
      head = file.head,
      members = members(files, module, file.returned or module:match("%w+$")),
    }
    face.rooms[room] = files[FACE .. "." .. room].head
    for inner, other in pairs(modules_in(read_file(paths[module]), files, module)) do
      add_module(name .. "." .. inner, other)
    end
  end
  for name, module in pairs(modules_in(read_file(top), files, FACE)) do
    add_module(name, module)
  end
  sorted(face.modules)
  local own = members(files, FACE, "pl")
  table.move(members(files, ENGINE, "pl"), 1, 1000, #own + 1, own)
  table.insert(face.modules, 1, {
    name = "pl",
    module = FACE,
    room = "",
    head = files[FACE].head,
    members = sorted(own),
  })
  for _, one in ipairs(face.modules) do
    reach(one.members, classes, reached)
  end
  for _, class in pairs(reached) do
    class.room = class.module == ENGINE and "" or room_of(class.module)
    face.classes[#face.classes + 1] = class
  end
  sorted(face.classes)
  return face
end

local function check_member(fault, what, member)
  local item = member.item
  if not item.text or item.text == "" then return fault(member, "%s has no summary", what) end
  local message = item.kind == "function" and doc_comments.params_fault(item)
  if message then fault(member, "%s", message) end
end

--- What is wrong with the doc comments: in every source those that break the dialect or name an
-- unknown type; of the public face what says nothing, or not all.
-- @tparam table face of `read`
-- @treturn {string,...} "module:line: message", sorted
function public.faults(face)
  local list, classes = {}, find_classes(face.files)
  local function fault(member, message, ...)
    list[#list + 1] = ("%s:%d: "):format(member.module, member.item.line) .. message:format(...)
  end
  for module, file in pairs(face.files) do
    for _, one in ipairs(file.faults) do
      list[#list + 1] = ("%s:%d: %s"):format(module, one[1], one[2])
    end
    for _, item in ipairs(file.items) do
      types_in(item, function(name)
        if not lua_types[name] and not classes[name] then
          fault({ module = module, item = item }, "there is no type or class %s", name)
        end
      end)
    end
  end
  for _, one in ipairs(face.modules) do
    if not one.head then list[#list + 1] = ("%s:1: it has no head"):format(one.module) end
    for _, member in ipairs(one.members) do
      check_member(fault, one.name .. "." .. member.name, member)
    end
  end
  for _, class in ipairs(face.classes) do
    for _, member in ipairs(class.methods) do
      check_member(fault, class.name .. ":" .. member.name, member)
    end
  end
  table.sort(list)
  return list
end

return public
