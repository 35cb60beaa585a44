--- Stories of a text file, split into sides, and their openings.
--
-- In the file a single newline ends a story and blank lines part its paragraphs. A story is on one
-- side only, by a permutation of the seed, and every opening is of its own story: nothing of a
-- held-out story is seen in training. A story that stands in the file twice counts once.

local pl = require "perilune"

local openings = {}

local PURPOSE <const> = 7400

--- The stories of a text.
-- @tparam string text
-- @tparam integer least_words shorter pieces are left out
-- @treturn {string,...}
function openings.stories(text, least_words)
  local list, seen, lines = {}, {}, {}
  local function flush()
    local story = table.concat(lines, "\n"):match("^%s*(.-)%s*$")
    lines = {}
    local _, words = story:gsub("%S+", "")
    if words >= least_words and not seen[story] then
      seen[story], list[#list + 1] = true, story
    end
  end
  local blank = true
  for line in (text .. "\n"):gmatch("(.-)\r?\n") do
    if line:find("%S") then
      if not blank then
        flush()
      end
      blank = false
    else
      blank = true
    end
    lines[#lines + 1] = line
  end
  flush()
  return list
end

--- Shuffle stories and deal them to sides.
-- @tparam {string,...} stories
-- @tparam {{string,integer},...} sides name and number of each but the last, which takes the rest
-- @tparam integer seed
-- @treturn {[string]={string,...}}
function openings.split(stories, sides, seed)
  local order, at, split = pl.batch.permutation(#stories, seed, PURPOSE), 0, {}
  for place, side in ipairs(sides) do
    local name, count = side[1], side[2]
    if place == #sides then
      count = #stories - at
    end
    if count < 1 or at + count > #stories then
      error(("%d stories are too few: side '%s' is left with %d"):format(
        #stories, name, #stories - at), 2)
    end
    split[name] = {}
    for i = 1, count do
      split[name][i] = stories[order[at + i]]
    end
    at = at + count
  end
  return split
end

--- The first words of a story, line breaks made spaces.
-- @treturn ?string nil when the story has no more words than that
function openings.opening(story, words)
  local list = {}
  for word in story:gmatch("%S+") do
    if #list == words then
      return table.concat(list, " ")
    end
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
      if prompt then
        rows[#rows + 1] = { prompt = prompt, story = number }
      end
    end
  end
  return rows
end

return openings
