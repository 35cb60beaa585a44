--- Editing JSON text: what does not change keeps its bytes.

local edit = require("perilune.base.json_edit")
local json = require("perilune.base.json")

local CONFIG <const> = [[
{
    "architectures": ["LlamaForCausalLM"],
  "rms_norm_eps": 1e-05,   "rope_theta": 1000000.0,
  "big": 123456789012345678901234567890, "half": 0.10, "text": "A\u00e9\/\"}{",
  "rope_scaling": null,
  "inner": {"factor": 8.0, "unknown": [1.0, {"x": -0.0}]},
  "auto_map": {}
}
]]

describe("editing JSON text", function()
  it("gives the text back when nothing changes", function()
    for _, text in ipairs { CONFIG, "{}", " { }\n", '{"a":1}', '{"a":{}}\n', '{"a" : [ ] }' } do
      assert.are.equal(text, edit.apply(text, json.decode(text)))
    end
  end)

  it("changes one member, inside an object too", function()
    local values = json.decode(CONFIG)
    values.rms_norm_eps = 1e-6
    values.inner.factor = 4.0
    local expected = CONFIG:gsub("1e%-05", "1e-06"):gsub("8%.0", "4.0")
    assert.are.equal(expected, edit.apply(CONFIG, values))
  end)

  it("takes members out, but for null ones, and puts new ones last", function()
    local values = json.decode(CONFIG)
    values.auto_map, values.architectures = nil, nil
    values.b, values.a = { x = 1 }, json.array { 1, 2 }
    local text = edit.apply(CONFIG, values)
    local again = json.decode(text, { strict = true })
    assert.are.same(values, again)
    assert.is_truthy(text:find('"rope_scaling": null', 1, true))
    assert.is_truthy(text:find('"rope_theta": 1000000.0', 1, true))
    assert.is_truthy(text:find('{\n    "rms_norm_eps": 1e-05,   "rope_theta"', 1, true), text)
    assert.is_truthy(text:find('"b": {\n    "x": 1\n  }\n}\n', 1, true), text)
  end)

  it("writes into one line what is in one line", function()
    assert.are.equal('{"a":1, "b": [2]}', edit.apply('{"a":1}', { a = 1, b = json.array { 2 } }))
    assert.are.equal('{"b":3}', edit.apply('{"a":1,"b":2}', { b = 3 }))
    assert.are.equal("{}", edit.apply('{"a":1}', {}))
    assert.are.equal('{\n  "a": 1\n} ', edit.apply("{} ", { a = 1 }))
  end)
end)
