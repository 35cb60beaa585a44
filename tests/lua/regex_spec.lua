--- Regular expressions that cannot run away (perilune.base.regex).

local regex = require("perilune.base.regex")

describe("a pattern", function()
  it("fits whole texts as Python's re.fullmatch does", function()
    for _, case in ipairs {
      { [[.*\.(q_proj|v_proj)]], "layers.0.q_proj", true },
      { [[.*\.(q_proj|v_proj)]], "layers.0.q_projx", false },
      { [[.*\.(self_attn\.o|mlp\.(up|down))_proj]], "model.layers.1.mlp.up_proj", true },
      { [[.*\.(self_attn\.o|mlp\.(up|down))_proj]], "model.layers.1.mlp.gate_proj", false },
      { [[layers\.\d+\.(?:x|y)*]], "layers.12.xyx", true },
      { "a*?b+", "aaabb", true },
      { "a+", "", false },
      { "a?", "aa", false },
      { "", "", true },
      { "", "a", false },
      { "a|", "", true },
      { "^a$", "a", true },
      { "[^0-9]+", "ab", true },
      { "[^0-9]+", "a1", false },
      { "[]a]", "]", true },
      { "[a-]+", "-a", true },
      { "(|a)+", "aaa", true },
    } do
      assert.are.equal(case[3], assert(regex.compile(case[1]))(case[2]), case[1] .. " " .. case[2])
    end
  end)

  it("takes no longer for what lets others run away", function()
    local fits = assert(regex.compile("((a*)*)*b"))
    assert.is_false(fits(("a"):rep(2000)))
    assert.is_true(fits(("a"):rep(2000) .. "b"))
  end)

  it("is refused with the reason when it has what is not known here", function()
    for pattern, reason in pairs {
      ["a{2}"] = "'{' at place 2 is not known there",
      ["("] = "'(' has no ')'",
      ["a)b"] = "')' has no '('",
      ["[a"] = "'[' has no ']'",
      ["[b-a]"] = "'b-a' is no range",
      ["\\"] = "it ends in a backslash",
      ["(?!a)"] = "'(?!' is not known here",
      ["*a"] = "'*' at place 1 is not known there",
      ["a$b"] = "'$' at place 2 is not known there",
      ["\\b"] = "'\\b' is not known here",
      [("("):rep(60)] = "more than 50 groups inside each other",
      [("a"):rep(2001)] = "it is longer than 2000 bytes",
    } do
      local made, message = regex.compile(pattern)
      assert.is_nil(made)
      assert.are.equal(reason, message)
    end
  end)
end)
