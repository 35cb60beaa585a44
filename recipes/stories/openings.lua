--- Stories of a text file, split into sides, and their openings.
--
-- In the file a single newline ends a story and blank lines part its paragraphs. A story is on one
-- side only, by the library's rules, and every opening is of its own story: nothing of a held-out
-- story is seen in training. A story that stands in the file twice counts once.

local pl = require("perilune")

local openings = {}

--- The stories of a text, in order.
-- @tparam string text
-- @treturn {string,...}
function openings.stories(text)
  local list, lines = {}, {}
  local function flush()
    local story = table.concat(lines, "\n"):match("^%s*(.-)%s*$")
    lines = {}
    if story ~= "" then list[#list + 1] = story end
  end
  local blank = true
  for line in (text .. "\n"):gmatch("(.-)\r?\n") do
    if line:find("%S") then
      if not blank then flush() end
      blank = false
    else
      blank = true
    end
    lines[#lines + 1] = line
  end
  flush()
  return list
end

--- Stories through the rules: each once, none too short, each on one side by a hash of its text.
-- @tparam {string,...} stories
-- @tparam table options `valid` and `test` (parts of the whole), `least_words`, `seed`,
--   `path` (for messages)
-- @treturn {train={string,...},valid={string,...},test={string,...}}
function openings.sides(stories, options)
  local rows, sides = {}, { train = {}, valid = {}, test = {} }
  for i, story in ipairs(stories) do
    rows[i] = { prompt = story }
  end
  local list = {
    pl.rules.length { min = options.least_words, max = 100000, unit = "words" },
    pl.rules.dedupe { prefix = false }, -- stories do begin alike
    pl.rules.split {
      train = 1 - options.valid - options.test,
      valid = options.valid,
      test = options.test,
      salt = tostring(options.seed),
    },
  }
  for row in pl.rules.run(rows, list, { seed = options.seed }) do
    table.insert(sides[row.side], row.prompt)
  end
  for side, kept in pairs(sides) do
    if #kept == 0 then
      error(
        (
          "%s: %d stories, each ended by a single newline, are too few: of those with %d words "
          .. "or more the side '%s' has none"
        ):format(options.path, #stories, options.least_words, side),
        0
      )
    end
  end
  return sides
end

--- The first words of a story, line breaks made spaces.
-- @treturn ?string nil when the story has no more words than that
function openings.opening(story, words)
  local list = {}
  for word in story:gmatch("%S+") do
    if #list == words then return table.concat(list, " ") end
    list[#list + 1] = word
  end
end

--- Openings of many stories as prompt rows.
-- @tparam {string,...} stories
-- @tparam {integer,...} lengths in words: each story gives one opening of each length
-- @treturn {{prompt=string,story=integer},...} first those of the first length
function openings.prompts(stories, lengths)
  local rows = {}
  for _, words in ipairs(lengths) do
    for number, story in ipairs(stories) do
      local prompt = openings.opening(story, words)
      if prompt then rows[#rows + 1] = { prompt = prompt, story = number } end
    end
  end
  return rows
end

return openings
