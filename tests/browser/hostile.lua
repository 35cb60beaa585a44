--- Texts that a model or a user may have written and that a page must not obey.

return {
  "<script>owned=1</script>",
  "</script><script>owned=2</script>",
  "<img src=x onerror=owned=3>",
  "<svg onload=owned=4>",
  '<a href="javascript:owned=5">javascript:</a>',
  "javascript:owned=6//",
  "<iframe srcdoc='<script>parent.owned=7</script>'></iframe>",
  "<base href=//evil.example/><link rel=stylesheet href=//evil.example/a.css>",
  "<form action=//evil.example/><input name=q autofocus onfocus=owned=8></form>",
  "<style>@import url(//evil.example/a.css);*{display:none}</style>",
  "<meta http-equiv=refresh content='0;url=//evil.example/'>",
  "]]><!-- --!> <![CDATA[",
  "&lt;script&gt;owned=9&lt;/script&gt; &#60;b&#62;",
  "'\"`;owned=10;//\\\\",
  "${owned=11} {{constructor.constructor('owned=12')()}}",
  "a\u{2028}owned=13\u{2029}b",
  "\u{202e}reversed \u{2066}isolated\u{200b}\u{feff}",
  "\0\1\27[31mred\27[0m\r\n\r\nevent: reload\ndata: {}\n",
  "data: x\n\nevent: reload\ndata: {}",
  ("huge "):rep(20000) .. ("w"):rep(20000),
}
