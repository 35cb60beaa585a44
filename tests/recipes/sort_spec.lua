--- The sort recipe: its problems, their checker, and the whole of it; the long suite has it learn
-- to be right on 95 % of the problems that it never saw.

local pl = require("perilune")
local scratch = dofile("tests/lua/support/scratch.lua")
local message_of = dofile("tests/lua/support/message_of.lua")

package.path = "recipes/?.lua;" .. package.path
local problems = require("sort.problems")

local folder

setup(function() folder = scratch.folder() end)
teardown(function() scratch.remove(folder) end)

describe("problems", function()
  it("are different, and a function of the seed", function()
    for task, size in pairs { sort = 6, sum = 2 } do
      local rows, seen = problems.draw(task, size, 500, 3), {}
      assert.are.equal(500, #rows)
      for _, row in ipairs(rows) do
        assert.is_nil(seen[row.prompt])
        seen[row.prompt] = true
      end
      assert.are.same(rows, problems.draw(task, size, 500, 3))
      assert.are_not.same(rows, problems.draw(task, size, 500, 4))
    end
  end)

  it("are as many as there are", function()
    assert.are.equal(10, #problems.draw("sort", 1, 50, 1))
    assert.are.equal(100, #problems.draw("sum", 1, 500, 1))
  end)

  it("have their answers, which the checker alone takes", function()
    for task, cases in pairs {
      sort = { { "7 3 9 3 :", "3 3 7 9" }, { "5 :", "5" } },
      -- last digits first: 83 + 99 = 182, 0 + 7 = 7
      sum = { { "3 8 + 9 9 :", "2 8 1" }, { "0 + 7 :", "7 0" } },
    } do
      local check = problems.checker(task)
      for _, case in ipairs(cases) do
        local prompt, right = case[1], case[2]
        local answers = { right, " " .. right, right .. " 1", right:sub(3), "", right }
        local asked, ended = {}, { true, true, true, true, true, false }
        for i = 1, #answers do
          asked[i] = prompt
        end
        assert.are.same({ 1, 1, 0, 0, 0, 0 }, check(asked, answers, nil, ended))
      end
    end
    for _, task in ipairs { "sort", "sum" } do
      local rows = problems.draw(task, 3, 50, 1)
      local asked, answers, ended = {}, {}, {}
      for i, row in ipairs(rows) do
        asked[i], answers[i], ended[i] = row.prompt, row.completion, true
      end
      for _, score in ipairs(problems.checker(task)(asked, answers, nil, ended)) do
        assert.are.equal(1, score)
      end
    end
  end)
end)

local function run(more)
  local settings = { quiet = true, seed = 1, output_dir = folder .. "/run" }
  settings.overwrite_output_dir = true
  for key, value in pairs(more) do
    settings[key] = value
  end
  return pl.config.run_recipe("recipes/sort.lua", settings)
end

describe("the recipe", function()
  for _, task in ipairs { "sort", "sum" } do
    it("goes through all its stages: " .. task, function()
      local result = run {
        task = task,
        problems = 48,
        held_out = 8,
        demonstrations = 16,
        sft_epochs = 1,
        total_episodes = 16,
        batch_size = 16,
        num_mini_batches = 1,
        width = 12,
        layers = 1,
      }
      assert.are.equal(8, result.held_out)
      assert.is_true(result.right >= 0 and result.right <= 1)
      for _, stage in ipairs { "sft", "eval-start", "grpo", "eval-grpo" } do
        assert.is_true(result.stage_seconds[stage] > 0)
      end
    end)

    it("learns " .. task .. " to 95 % from a reward of 0 or 1 #long", function()
      local result = run { task = task }
      assert.is_true(result.right_before < 0.9)
      assert.is_true(result.right >= 0.95)
    end)
  end

  it("refuses heads that do not divide the width", function()
    local message = tostring(message_of(run, { heads = 5 }))
    assert.truthy(message:find("heads must divide width", 1, true), message)
  end)
end)
