--- The command line as a list of assignments.
--
--     --key value   --key=value   --flag   --no-flag   --preset NAME   --help
--
-- Dashes inside a name count as underscores. A flag takes a following "true", "false", "yes", "no",
-- "on" or "off" as its value and nothing else. Names are looked up here, values are not checked:
-- that is the row's business.

local command_line = {}

local flag_words =
  { ["true"] = true, ["false"] = true, yes = true, no = true, on = true, off = true }

--- Whether --help or -h stands in a command line, whatever else is wrong with it.
-- @tparam {string,...} args
-- @treturn boolean
function command_line.asks_for_help(args)
  for _, word in ipairs(args) do
    if word == "--help" or word == "-h" then return true end
  end
  return false
end

--- Split a command line, one that does not ask for help.
-- @tparam {string,...} args
-- @tparam function find name -> row; raises for names that nobody knows
-- @treturn ?{{name=string,value=string|boolean,label=string},...}
-- @treturn ?string what is wrong
function command_line.split(args, find)
  local found = {}
  local i = 1
  local function add(name, value, label)
    found[#found + 1] = { name = name, value = value, label = label }
  end
  while i <= #args do
    local word = args[i]
    local name, value = word:match("^%-%-([^=]+)=(.*)$")
    name = name or word:match("^%-%-(.+)$")
    if not name then
      local message = "'%s' belongs to no key; write --key value, and quote values that have blanks"
      return nil, message:format(word)
    end
    name = name:gsub("%-", "_")
    local following = args[i + 1]
    if name == "preset" then
      if not value then
        value, i = following, i + 1
      end
      if not value or value:match("^%-%-") then
        return nil, "--preset needs the name of a file in the recipe's presets folder"
      end
      add("preset", value, "--preset")
    else
      local negated = name:match("^no_(.+)$")
      local row, exists = find(name, negated)
      if exists == "negated" then
        if value then
          local message = "%s takes no value; write --%s=no"
          return nil, message:format(word:match("^[^=]+"), row.name)
        elseif row.type ~= "boolean" and not row.optional then
          local message = "%s is no flag; it cannot be switched off with --no-%s"
          return nil, message:format(row.name, row.name)
        end
        add(row.name, false, word)
      elseif value then
        add(row.name, value, "--" .. row.name)
      elseif row.type == "boolean" then
        if following and flag_words[following] then
          value, i = following, i + 1
        end
        add(row.name, value or true, "--" .. row.name)
      elseif row.flag and (not following or following:match("^%-%-")) then
        add(row.name, row.flag, "--" .. row.name)
      else
        if not following or following:match("^%-%-%a") then
          return nil, ("--%s needs a value"):format(row.name)
        end
        add(row.name, following, "--" .. row.name)
        i = i + 1
      end
    end
    i = i + 1
  end
  return found
end

return command_line
