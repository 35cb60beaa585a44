local message_of = dofile("tests/lua/support/message_of.lua")
local schedule = require("perilune.config.schedule")

describe("a schedule", function()
  it("of one number is that number at every step", function()
    local s = schedule.constant(0.05)
    assert.are.equal(0.05, s(1))
    assert.are.equal(0.05, s(1e9))
    assert.are.equal(0.05, s:fixed())
    assert.is_nil(schedule.linear(1, 2, 3):fixed())
  end)

  it("linear starts at a with step 1 and has reached b when its steps are done", function()
    local s = schedule.linear(1, 0, 4)
    assert.are.same({ 1, 0.75, 0.5, 0.25, 0, 0 }, { s(1), s(2), s(3), s(4), s(5), s(99) })
    assert.are.equal(1, s(0))
  end)

  it("cosine passes the middle half way", function()
    local s = schedule.cosine(0.1, 0.02, 100)
    assert.are.equal(0.1, s(1))
    assert.is_true(math.abs(s(51) - 0.06) < 1e-15)
    assert.are.equal(0.02, s(101))
    assert.are.equal(0.02, s(1000))
  end)

  it("warms up as InstructGPT does: from a tenth over ten iterations", function()
    local s = schedule.warmup(10, 9e-6, 0.1)
    assert.is_true(math.abs(s(1) - 9e-7) < 1e-20)
    assert.is_true(math.abs(s(6) - 9e-6 * 0.55) < 1e-20)
    assert.are.equal(9e-6, s(11))
  end)

  it("gives the rates of transformers' cosine with warm-up", function()
    -- get_cosine_schedule_with_warmup(lr = 1, warm-up 2, total 6): 0, 0.5, 1, then half a cosine
    local s = schedule.warmup(2, schedule.cosine(1, 0, 4))
    local expected = {
      0,
      0.5,
      1,
      0.5 * (1 + math.cos(math.pi / 4)),
      0.5,
      0.5 * (1 + math.cos(0.75 * math.pi)),
    }
    for step, rate in ipairs(expected) do
      assert.is_true(math.abs(s(step) - rate) < 1e-15, "step " .. step)
    end
  end)

  it("piecewise joins points by straight lines, and jumps at doubled steps", function()
    local s = schedule.piecewise { { 1, 0.5 }, { 11, 1.5 }, { 11, 3 }, { 20, 3 } }
    assert.are.equal(0.5, s(0))
    assert.are.equal(1.0, s(6))
    assert.are.equal(3, s(11))
    assert.are.equal(3, s(21))
  end)

  it("adaptive_kl clips the error at a fifth and scales by n / horizon", function()
    local s = schedule.adaptive_kl { init = 0.2, target = 6, horizon = 1000 }
    s:update(60, 100)
    assert.are.equal(0.2 * (1 + 0.2 * 100 / 1000), s(1))
    s:load_state { coef = 0.2 }
    s:update(5.4, 500)
    assert.are.equal(0.2 * (1 + (5.4 / 6 - 1) * 500 / 1000), s(1))
    s:load_state { coef = 0.2 }
    s:update(0, 1000)
    assert.are.equal(0.2 * 0.8, s(7))
    assert.are.same({ coef = 0.2 * 0.8 }, s:state())
    s:update(0 / 0, 1000)
    assert.are.equal(0.2 * 0.8, s(7))
  end)

  it("spans the run once the run's length is known", function()
    local s = schedule.warmup(10, schedule.linear(1, 0))
    assert.has_error(
      function() s(1) end,
      "linear(1, 0) spans the whole run, whose length is not known yet; "
        .. "give the schedule its number of steps, or call set_horizon first"
    )
    s:set_horizon(110)
    assert.are.equal(0.5, s(61))
    assert.are.equal(0, s(111))
  end)

  it("is written as text that reads back", function()
    local texts = {
      "0.05",
      "3",
      "linear(0.2, 0.02, 500)",
      "cosine(0.1, 0.01)",
      "warmup(10, 9e-06, 0.1)",
      "warmup(5, cosine(1, 0.1, 20))",
      "piecewise{{1, 0.2}, {500, 0.05}}",
      "adaptive_kl{init = 0.15, target = 6, horizon = 10000}",
      'formula("0.2 / sqrt(step)")',
      "linear(0.1, 0.30000000000000004, 7)",
    }
    for _, text in ipairs(texts) do
      local s = assert(schedule.parse(text))
      assert.are.equal(text, tostring(s))
      assert.are.equal(s, schedule.parse(tostring(s)))
    end
  end)

  it("takes any function of the step, and says that it has no text", function()
    local s = schedule.of(function(step) return 1 / step end)
    assert.are.equal(0.25, s(4))
    assert.is_false(s:has_text())
    assert.is_true(schedule.linear(1, 2, 3):has_text())
    assert.are.equal(0.1, assert(schedule.parse('formula("0.2 / sqrt(step)")'))(4))
  end)

  it("that gives no number is an error that names the step", function()
    local s = schedule.of(function() return "x" end)
    local ok, message = pcall(s, 3)
    assert.is_false(ok)
    assert.is_truthy(message:find("gave a string at step 3; it must give a finite number", 1, true))
  end)
end)

describe("schedule.parse", function()
  local function refusal(text)
    local made, message = schedule.parse(text)
    assert.is_nil(made)
    return message
  end

  it(
    "names the nearest schedule",
    function()
      assert.are.equal(
        "'cosin(1, 2)': there is no schedule 'cosin'; did you mean 'cosine'?",
        refusal("cosin(1, 2)")
      )
    end
  )

  it("reaches nothing of Lua's own", function()
    assert.are.equal(
      "'os.exit()': there is no schedule 'os'; known are constant, linear, cosine, "
        .. "warmup, piecewise, adaptive_kl, formula",
      refusal("os.exit()")
    )
    assert.are.equal(
      '\'formula("os.time()")\': formula "os.time()" cannot be read: there is '
        .. "no name 'os'; did you mean 'cos'?",
      refusal('formula("os.time()")')
    )
    for _, text in ipairs {
      "formula(\"(''):rep(9)\")",
      'formula("(function() while true do end end)()")',
      'formula("step; os.exit()")',
      "linear((function() return 1 end)(), 2)",
      '(""):rep(1e9)',
      "constant(#{1, 2})",
      "load('x')",
      'formula("' .. ("("):rep(1e5) .. '")',
    } do
      assert.is_truthy(refusal(text), text)
    end
  end)

  it(
    "finds a wrong name in a formula when it is read",
    function()
      assert.are.equal(
        '\'formula("0.2/sqrt(stp)")\': formula "0.2/sqrt(stp)" cannot be read: '
          .. "there is no name 'stp'; did you mean 'step'?",
        refusal('formula("0.2/sqrt(stp)")')
      )
    end
  )

  it("reckons as Lua does", function()
    for _, text in ipairs {
      "1 + 2 * 3 - 4 / 5",
      "-2 ^ 2 + 2 ^ -1",
      "2 ^ 3 ^ 2",
      "7 // 2 * 3 % 2.5",
      "(1 + 2) * 3",
      "step < 10 and 0.2 or 0.1",
      "not (step >= 3) and 1 or 2",
      "max(1, step, 2) + min(3, 4)",
      "0x10 + 1e-3 + .5",
      "exp(-step / 10) * cos(pi)",
      "1 - -1",
      "step == 3 and 5 or 6",
    } do
      local lua = load(
        "local step, max, min, exp, cos, pi = 3, math.max, math.min, math.exp, "
          .. "math.cos, math.pi return "
          .. text
      )()
      assert.are.equal(lua, schedule.formula(text)(3), text)
    end
  end)

  it("whose value is not finite is an error that names the step", function()
    assert.is_truthy(
      message_of(schedule.formula("1 / (step - 1)"), 1):find(
        'the schedule formula("1 / (step - 1)") gave inf at step 1; it must give a finite number',
        1,
        true
      )
    )
    assert.is_truthy(
      message_of(schedule.formula("step < 2"), 3):find("gave a boolean at step 3", 1, true)
    )
    assert.is_truthy(
      message_of(schedule.formula("(step < 2) + 1"), 3):find(
        "at step 3: + takes numbers, not a boolean",
        1,
        true
      )
    )
  end)

  it("explains what it wants", function()
    assert.are.equal(
      "'{}' is neither a number nor a schedule such as cosine(0.1, 0.01, 500)",
      refusal("{}")
    )
    assert.are.equal("'linear(1': ')' is wanted before the end", refusal("linear(1"))
    assert.are.equal(
      "'adaptive_kl{targt=3}': adaptive_kl has no option 'targt'; did you mean " .. "'target'?",
      refusal("adaptive_kl{targt=3}")
    )
    assert.are.equal(
      "'linear(1, 2, 0)': linear: the number of steps must be 1 or more, got 0",
      refusal("linear(1, 2, 0)")
    )
    assert.are.equal("'1e999' is not a finite number", refusal("1e999"))
  end)
end)
