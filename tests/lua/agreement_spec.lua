--- Agreement of labelers: Krippendorff's published example, and pairs counted by hand.

local agreement = require("perilune.human.agreement")

-- Twelve units, four observers, as printed in Krippendorff's "Computing Krippendorff's
-- Alpha-Reliability" (2011), section C; 0 stands for a missing value.
local rows = {
  { 1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0 },
  { 1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3 },
  { 0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0 },
  { 1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0 },
}
local units = {}
for u = 1, 12 do
  units[u] = {}
  for _, row in ipairs(rows) do
    if row[u] ~= 0 then table.insert(units[u], row[u]) end
  end
end

describe("agreement", function()
  it("gives Krippendorff's published figures", function()
    assert.are.equal("0.743", ("%.3f"):format(agreement.alpha(units, "nominal")))
    assert.are.equal("0.815", ("%.3f"):format(agreement.alpha(units, "ordinal")))
    assert.are.equal("0.849", ("%.3f"):format(agreement.alpha(units, "interval")))
  end)

  it("takes an iterator as well as a list", function()
    local at = 0
    local function next_unit()
      at = at + 1
      return units[at]
    end
    assert.are.equal(agreement.alpha(units, "ordinal"), agreement.alpha(next_unit, "ordinal"))
  end)

  it("counts the pairs of two rankings with a tie", function()
    -- pairs (1,2) (1,3) (2,3): ana says better, better, tie; bo says better, better, worse
    local found = agreement
      .new()
      :add({
        { labeler = "ana", ranks = { 1, 2, 2 } },
        { labeler = "bo", ranks = { 1, 3, 2 } },
      })
      :result()
    assert.are.equal(2 / 3, found.pairwise)
    assert.are.equal(1, found.strict)
    assert.are.equal(1 / 6, found.tie_rate)
    assert.are.same({ "ana", "bo" }, { found.labelers[1].labeler, found.labelers[2].labeler })
    assert.are.equal(1 / 3, found.labelers[1].tie_rate)
    assert.are.equal(0, found.labelers[2].tie_rate)
  end)

  it("is 1 for the same opinion, 0 or less for the opposite, nil for a single voice", function()
    local same, opposite, single = agreement.new(), agreement.new(), agreement.new()
    for _ = 1, 5 do
      same:add { { labeler = "a", ranks = { 1, 2 } }, { labeler = "b", ranks = { 1, 2 } } }
      opposite:add { { labeler = "a", ranks = { 1, 2 } }, { labeler = "b", ranks = { 2, 1 } } }
      single:add { { labeler = "a", ranks = { 1, 2 } } }
    end
    assert.are.equal(1, same:result().alpha)
    assert.are.equal(1, same:result().pairwise)
    assert.is_true(opposite:result().alpha < 0)
    assert.is_nil(single:result().alpha)
    assert.is_nil(single:result().pairwise)
    assert.are.equal(5, single:result().rankings)
  end)

  it("does not depend on which answer stands first", function()
    local one, other = agreement.new(), agreement.new()
    local sets = {
      { { 1, 2, 3 }, { 2, 1, 3 } },
      { { 1, 1, 2 }, { 1, 2, 3 } },
      { { 3, 2, 1 }, { 3, 1, 2 } },
    }
    for _, set in ipairs(sets) do
      local function rankings(order)
        local list = {}
        for i, ranks in ipairs(set) do
          list[i] = {
            labeler = tostring(i),
            ranks = { ranks[order[1]], ranks[order[2]], ranks[order[3]] },
          }
        end
        return list
      end
      one:add(rankings { 1, 2, 3 })
      other:add(rankings { 3, 1, 2 })
    end
    assert.are.equal(one:result().alpha, other:result().alpha)
    assert.are.equal(one:result().pairwise, other:result().pairwise)
  end)

  it("passes over answers somebody did not judge", function()
    local found = agreement
      .new()
      :add({
        { labeler = "a", ranks = { 1, 2, 3 } },
        { labeler = "b", ranks = { 1, false, 2 } },
      })
      :result()
    assert.are.equal(1, found.compared)
    assert.are.equal(4, found.judgements)
  end)
end)
