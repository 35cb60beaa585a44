--- Holds the personal-data rule against labelled sentences and prints precision and recall by kind.
--
--   perilune recipes/collect/check_personal_data.lua [FILE] [--show | --show-all]
--
-- FILE is by default tests/data/personal_data.tsv, whose head says its format. Odd sentences are
-- the development half, even ones the held-out half; the honest figures are the held-out ones.
-- `--show` prints the sentences of the development half that the rule gets wrong, `--show-all`
-- of both.
--
-- Two measures: `overlap` counts a found span right when it touches a span of the same kind in the
-- labels, and a label as recalled when a found span of its kind touches it; `exact` wants the same
-- first and last byte. A sentence's traps count by what is wrongly found in them.
--
-- What it does not do: vouch for other text. The sentences are ours, invented for the rule.

local pl = require("perilune")
local personal_data = pl.rules.personal

local check = {}

local function trimmed(text) return text:match("^%s*(.-)%s*$") end

-- A line of the file that is an option for all sentences.
local function read_option(options, name, value)
  local list = {}
  for item in value:gmatch(name == "users" and "%S+" or "[^,]+") do
    list[#list + 1] = trimmed(item)
  end
  options[name] = list
end

-- The text of a marked sentence, and its spans.
local function unmarked(sentence)
  local pieces, spans, size, at = {}, {}, 0, 1
  for first, kind, text, after in sentence:gmatch("(){{(%u+) (.-)}}()") do
    local between = sentence:sub(at, first - 1)
    pieces[#pieces + 1] = between .. text
    size = size + #between
    spans[#spans + 1] = { kind = kind, first = size + 1, last = size + #text }
    size, at = size + #text, after
  end
  pieces[#pieces + 1] = sentence:sub(at)
  return table.concat(pieces), spans
end

--- Read labelled sentences.
-- @tparam string path
-- @treturn ?{table,...} each {number =, topic =, text =, spans =}; nil when the file cannot be read
-- @treturn table|string options for personal_data.matcher, or the message
function check.read(path)
  local file <close>, message = io.open(path, "rb")
  if not file then return nil, message end
  local sentences, options = {}, {}
  local line_number = 0
  for line in file:lines() do
    line_number = line_number + 1
    local name, value = line:match("^!(%l+)\t(.*)$")
    if name then
      read_option(options, name, value)
    elseif line ~= "" and not line:find("^#") then
      local number, topic, marked = line:match("^(%d+)\t(%l+)\t(.+)$")
      if not number then
        return nil,
          ("%s:%d: not number, topic and sentence with tabs between"):format(path, line_number)
      end
      local text, spans = unmarked(marked)
      sentences[#sentences + 1] = {
        number = tonumber(number),
        topic = topic,
        text = text,
        spans = spans,
      }
    end
  end
  return sentences, options
end

local function touches(a, b) return a.kind == b.kind and a.first <= b.last and b.first <= a.last end

local function same(a, b) return a.kind == b.kind and a.first == b.first and a.last == b.last end

local function any(span, list, fits)
  for _, other in ipairs(list) do
    if fits(span, other) then return true end
  end
  return false
end

local function count(row, labels, found)
  for measure, fits in pairs { overlap = touches, exact = same } do
    local cell = row[measure]
    for _, span in ipairs(found) do
      local hit = any(span, labels, fits)
      cell.found = cell.found + 1
      cell.right = cell.right + (hit and 1 or 0)
    end
    for _, span in ipairs(labels) do
      cell.labels = cell.labels + 1
      cell.recalled = cell.recalled + (any(span, found, fits) and 1 or 0)
    end
  end
end

local function of_kind(spans, kind)
  local list = {}
  for _, span in ipairs(spans) do
    if kind == "all" or span.kind == kind then list[#list + 1] = span end
  end
  return list
end

local function new_row()
  local row = {}
  for _, measure in ipairs { "overlap", "exact" } do
    row[measure] = { found = 0, right = 0, labels = 0, recalled = 0 }
  end
  return row
end

local function fill(row)
  for _, cell in pairs(row) do
    cell.precision = cell.found > 0 and cell.right / cell.found or 1
    cell.recall = cell.labels > 0 and cell.recalled / cell.labels or 1
  end
end

--- The figures.
-- @tparam table sentences as from `read`
-- @tparam table options
-- @treturn table figures[half][kind][measure] = {found, right, labels, recalled, precision,
--   recall};
--   halves are "development", "held out", "whole"; kinds the rule's and "all"
-- @treturn table wrong {{sentence=, found=},...}
function check.figures(sentences, options)
  local matcher = personal_data.matcher(options)
  local kinds = table.move(personal_data.kinds, 1, #personal_data.kinds, 1, {})
  kinds[#kinds + 1] = "all"
  local figures = { development = {}, ["held out"] = {}, whole = {} }
  for _, half in pairs(figures) do
    for _, kind in ipairs(kinds) do
      half[kind] = new_row()
    end
  end
  local wrong = {}
  for _, sentence in ipairs(sentences) do
    local found = matcher:find(sentence.text)
    local half = figures[sentence.number % 2 == 1 and "development" or "held out"]
    for _, kind in ipairs(kinds) do
      local labels, hits = of_kind(sentence.spans, kind), of_kind(found, kind)
      count(half[kind], labels, hits)
      count(figures.whole[kind], labels, hits)
    end
    local exact = #found == #sentence.spans
    for _, span in ipairs(found) do
      exact = exact and any(span, sentence.spans, same)
    end
    if not exact then wrong[#wrong + 1] = { sentence = sentence, found = found } end
  end
  for _, half in pairs(figures) do
    for _, row in pairs(half) do
      fill(row)
    end
  end
  return figures, wrong
end

--- The figures as a table of text.
-- @tparam table figures
-- @treturn string
function check.table(figures)
  local lines = {}
  for _, half in ipairs { "development", "held out", "whole" } do
    lines[#lines + 1] = ("%-12s %8s %8s   %-19s %-19s"):format(
      half,
      "labels",
      "found",
      "overlap  prec  rec",
      "exact  prec  rec"
    )
    local kinds = table.move(personal_data.kinds, 1, #personal_data.kinds, 1, {})
    kinds[#kinds + 1] = "all"
    for _, kind in ipairs(kinds) do
      local row = figures[half][kind]
      local over, exact = row.overlap, row.exact
      lines[#lines + 1] = ("  %-10s %8d %8d        %6.3f %6.3f      %6.3f %6.3f"):format(
        kind,
        over.labels,
        over.found,
        over.precision,
        over.recall,
        exact.precision,
        exact.recall
      )
    end
  end
  return table.concat(lines, "\n")
end

local function shown(case)
  local marks = {}
  for _, span in ipairs(case.found) do
    marks[#marks + 1] = span.kind .. " " .. case.sentence.text:sub(span.first, span.last)
  end
  return ("%d: %s\n     found: %s"):format(
    case.sentence.number,
    case.sentence.text,
    #marks > 0 and table.concat(marks, " | ") or "nothing"
  )
end

local function main(arguments)
  local path, show = "tests/data/personal_data.tsv", nil
  for _, argument in ipairs(arguments) do
    if argument == "--show" or argument == "--show-all" then
      show = argument
    else
      path = argument
    end
  end
  local sentences, options = check.read(path)
  if not sentences then
    error(
      (
        "the labelled sentences cannot be read: %s; run from the top of the checkout or name "
        .. "the file"
      ):format(options),
      0
    )
  end
  local figures, wrong = check.figures(sentences, options)
  local traps = 0
  for _, sentence in ipairs(sentences) do
    traps = traps + (#sentence.spans == 0 and 1 or 0)
  end
  print(("%s: %d sentences, %d of them traps"):format(path, #sentences, traps))
  print(check.table(figures))
  for _, case in ipairs(wrong) do
    if show == "--show-all" or show and case.sentence.number % 2 == 1 then print(shown(case)) end
  end
end

if ... ~= "collect.check_personal_data" then main { ... } end

return check
