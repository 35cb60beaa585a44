--- The book of a loop: what it writes at the end of a step, which checkpoint is the best, and what
-- is read back of it.

local config = require("perilune.config")
local files = require("perilune.base.files")
local run = require("perilune.run")
local scratch = dofile("tests/lua/support/scratch.lua")

teardown(scratch.clean)

-- A model of one number, which a checkpoint keeps as a text.
local function new_model(value)
  return {
    value = value,
    hash = function(self) return tostring(self.value) end,
    write = function(self, folder)
      return files.write_atomic(folder .. "/value.txt", tostring(self.value))
    end,
    read = function(self, folder)
      self.value = tonumber(scratch.read(folder .. "/value.txt"))
      return true
    end,
  }
end

local function open(choice, ...)
  local cfg = config {
    name = "toy",
    recipe = "tests/lua/book_spec.lua",
    args = { "--output_dir", scratch.folder(), "--quiet", ... },
    { learning_rate = 0.5, "η", schedule = true },
    {
      checkpoint_choice = choice,
      "of measurements",
      choices = { "last", "eval_loss", "eval_score" },
    },
  }
  return run.open(cfg)
end

-- Five steps; measured after some, with these figures.
local function five_steps(r, measured)
  local model = new_model(0)
  local parts = { model = model, models = { other = new_model(0) } }
  local book = r:book(parts, r:restore(parts, { step = 0, skipped = 0 }), { total = 5 })
  for step = 1, 5 do
    model.value, parts.models.other.value = step, -step
    local metrics = { loss = 1 / step }
    book:count(step, { grad_norm = 2, skipped = step == 2 }, metrics, 2)
    book:close(step, metrics, {}, measured[step])
  end
  book.progress:finish()
  return book, model, parts.models.other
end

local function steps_of(checkpoints)
  local steps = {}
  for i, checkpoint in ipairs(checkpoints) do
    steps[i] = checkpoint.step
  end
  return steps
end

describe("the book of a loop", function()
  it("writes rows that are due, measured or last, with the count of steps", function()
    local r <close> = open("last", "--logging_steps", "3")
    five_steps(r, { [2] = { eval_loss = 7 } })
    assert.are.equal(3, #r.history)
    local row = r.history[1]
    assert.are.same(
      { 2, 7, 0.5, 2, 0.5, 1, 1 },
      { row.step, row.eval_loss, row.loss, row.grad_norm, row.lr, row.epoch, row.skipped_steps }
    )
    assert.are.equal(3, r.history[2].step)
    assert.are.equal(5, r.history[3].step)
    assert.are.equal(2.5, r.history[3].epoch)
  end)

  it("saves what is due, the best and the last, and reads the best back", function()
    local r <close> = open("eval_loss", "--save_steps", "4", "--save_total_limit", "0")
    local measured = { { eval_loss = 3 }, { eval_loss = 2 }, { eval_loss = 9 } }
    local book, model, other = five_steps(r, measured)
    assert.are.same({ 1, 2, 4, 5 }, steps_of(r:checkpoints()))
    assert.are.equal("checkpoint-2", r.best.path)
    assert.are.equal(-2, book.state.best)
    assert.is_true(book:read_best())
    assert.are.equal(2, model.value)
    assert.are.equal(-2, other.value)
  end)

  it("takes the larger score for the better, and none when the last is wanted", function()
    local measured = { { eval_score = 3 }, { eval_score = 2 } }
    local r <close> = open("eval_score", "--save_total_limit", "0")
    five_steps(r, measured)
    assert.are.same({ 1, 5 }, steps_of(r:checkpoints()))
    assert.are.equal("checkpoint-1", r.best.path)
    local last <close> = open("last")
    local book, model = five_steps(last, measured)
    assert.is_false(book:read_best())
    assert.are.equal(5, model.value)
  end)

  it("wants to know how long the loop is", function()
    local r <close> = open("last")
    local ok, message = pcall(r.book, r, {}, {}, { done = 1 })
    assert.is_false(ok)
    assert.matches("run:book wants total, the steps of the loop", message, 1, true)
    ok, message = pcall(r.book, r, {}, {}, { totl = 1 })
    assert.is_false(ok)
    assert.matches("run:book has no option 'totl'; did you mean 'total'?", message, 1, true)
  end)
end)
