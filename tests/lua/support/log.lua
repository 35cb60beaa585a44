-- Random logs, and runs of rules over them whose reports are held against the rows.

local assert = require("luassert")
local random = require("perilune.base.random")
local rules = require("perilune.rules")

local log = {}

local SEEDS <const> = { 1, 2, 3, 5, 8, 13, 21, 34, 55, 89 }

function log.generator(seed)
  local stream = random.stream(seed, "rules spec")
  return function(n) return stream:int(1, n) end
end

function log.shuffled(list, draw)
  local copy = table.move(list, 1, #list, 1, {})
  for i = #copy, 2, -1 do
    local j = draw(i)
    copy[i], copy[j] = copy[j], copy[i]
  end
  return copy
end

-- Rows out and the report, whose counts are held against what went in and came out.
function log.run(rows, list, seed)
  local stream, report = rules.run(rows, list, { seed = seed })
  local out = {}
  for row in stream do
    out[#out + 1] = row
  end
  assert.is_nil(stream())
  local left = #rows
  for _, entry in ipairs(report) do
    assert.equal(left, entry.rows_in)
    for reason, count in pairs(entry.reasons) do
      left = left - count
      assert.equal(math.min(count, 3), #entry.examples[reason])
    end
    assert.equal(left, entry.rows_out)
  end
  assert.equal(left, #out)
  return out, report
end

-- A log with a heavy tail of users, some rows without one; texts are of few words, so many meet.
function log.random_log(seed, size)
  local draw = log.generator(seed)
  local rows = {}
  for i = 1, size or 100 + draw(200) do
    local words = {}
    for k = 1, draw(9) do
      words[k] = ({ "one", "two", "Two", "three,", "four", "é", "É" })[draw(7)]
    end
    local user = draw(3) == 1 and draw(3) or draw(60)
    rows[i] = {
      n = i,
      prompt = table.concat(words, ({ " ", " ", "  " })[draw(3)]),
      time = 1000 + i,
      user_id = draw(15) > 1 and "user " .. user or nil,
      source = "api",
      use_case = ({ "chat", "chat", "chat", "chat", "rewrite", "rewrite", "other" })[draw(7)],
    }
  end
  return rows, draw
end

function log.numbers(rows)
  local list = {}
  for i, row in ipairs(rows) do
    list[i] = row.n
  end
  return list
end

function log.count_by(rows, key)
  local counts = {}
  for _, row in ipairs(rows) do
    local value = row[key]
    if value ~= nil then counts[value] = (counts[value] or 0) + 1 end
  end
  return counts
end

function log.assert_in_order(rows)
  for i = 2, #rows do
    assert.is_true(rows[i - 1].n < rows[i].n)
  end
end

function log.for_seeds(law)
  for _, seed in ipairs(SEEDS) do
    local ok, message = pcall(law, seed)
    if not ok then
      error(
        ("seed %d: %s"):format(
          seed,
          type(message) == "table" and message.message or tostring(message)
        ),
        0
      )
    end
  end
end

return log
