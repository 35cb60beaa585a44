--- A test that must fail: ctest expects it to, which proves that the Lua runner can fail.
describe("the runner", function()
  it("can fail", function() assert.are.equal(1, 2) end)
end)
