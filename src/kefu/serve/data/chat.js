// The chat page. Everything that is shown is set as text, never as HTML.
"use strict";
(() => {
  const WORDS = {
    "zh-TW": { title: "客服", question: "您的問題", send: "送出", other: "English", hello: "您好，請問有什麼可以幫您？", away: "已轉交真人客服", meant: "您是不是想問：", up: "有幫助", down: "沒有幫助", failed: "目前無法回答，請稍後再試。", busy: "現在詢問的人較多，請稍後再試。", key: "需要有效的金鑰。" },
    en: { title: "Customer service", question: "Your question", send: "Send", other: "中文", hello: "Hello, how can we help you?", away: "Handed to a person", meant: "Did you mean:", up: "Helpful", down: "Not helpful", failed: "No answer just now. Please try again later.", busy: "Many people are asking. Please try again shortly.", key: "A valid key is needed." },
  };
  const $ = (id) => document.getElementById(id);
  const from = new URLSearchParams(location.hash.slice(1));
  const key = from.get("key") || "";
  let language = from.get("lang") || (navigator.language.startsWith("zh") ? "zh-TW" : "en");
  if (!(language in WORDS)) language = "zh-TW";
  const model = new URLSearchParams(location.search).get("model") || undefined;
  const history = [];

  const add = (parent, tag, name, text) => {
    const made = document.createElement(tag);
    made.className = name;
    made.textContent = text;
    parent.append(made);
    $("said").scrollTop = $("said").scrollHeight;
    return made;
  };
  const speak = () => {
    document.documentElement.lang = language;
    document.title = WORDS[language].title;
    for (const part of document.querySelectorAll("[data-say]"))
      part.textContent = WORDS[language][part.dataset.say];
    $("language").textContent = WORDS[language].other;
  };
  const post = (path, body) => fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...(key && { Authorization: "Bearer " + key }) },
    body: JSON.stringify(body),
  });
  const votes = (turn, id) => {
    const row = add(turn, "div", "votes", "");
    for (const vote of ["up", "down"]) { // in words: a font may lack the thumbs
      const button = add(row, "button", "", WORDS[language][vote]);
      button.type = "button";
      button.setAttribute("aria-pressed", "false");
      button.onclick = async () => {
        const done = await post("v1/feedback", { id, vote }).catch(() => null);
        if (!done || !done.ok) return;
        for (const other of row.children) other.setAttribute("aria-pressed", String(other === button));
      };
    }
  };
  const read = async (answer, onEvent) => {
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = "", part; !(part = await reader.read()).done;) {
      const events = (rest + part.value).split("\n\n");
      rest = events.pop();
      for (const event of events)
        if (event.startsWith("data: ") && event !== "data: [DONE]") onEvent(JSON.parse(event.slice(6)));
    }
  };
  const offers = (turn, questions) => {
    if (!questions.length) return;
    const box = add(turn, "div", "offers", WORDS[language].meant);
    for (const question of questions) {
      const button = add(box, "button", "", question);
      button.type = "button";
      button.onclick = () => { if (!$("send").disabled) send(question); };
    }
  };
  const ask = async (question) => {
    add($("said"), "div", "turn own", question);
    const turn = add($("said"), "div", "turn bot", "");
    turn.setAttribute("aria-busy", "true"); // a screen reader waits for the whole answer
    const text = add(turn, "span", "", "…");
    let said = "", id = "", about = null;
    try {
      const answer = await post("v1/chat/completions", { model, stream: true, messages: [...history.slice(-20), { role: "user", content: question }] });
      if (!answer.ok) {
        text.textContent = WORDS[language][{ 401: "key", 429: "busy" }[answer.status] || "failed"];
        return;
      }
      await read(answer, (event) => {
        id = event.id;
        said += event.choices[0]?.delta.content || "";
        about = event.kefu || about;
        text.textContent = said || "…";
      });
    } catch {
      text.textContent = WORDS[language].failed;
      return;
    }
    history.push({ role: "user", content: question }, { role: "assistant", content: said });
    if (about?.handed_over) {
      turn.classList.add("away");
      add(turn, "span", "note", WORDS[language].away);
      offers(turn, about.offered || []);
    }
    votes(turn, id);
    $("said").scrollTop = $("said").scrollHeight;
  };

  const send = async (question) => {
    $("send").disabled = true;
    await ask(question);
    $("said").lastElementChild.removeAttribute("aria-busy");
    $("send").disabled = false;
    $("question").focus();
  };
  $("form").onsubmit = (event) => {
    event.preventDefault();
    const question = $("question").value.trim();
    if (!question || $("send").disabled) return;
    $("question").value = "";
    send(question);
  };
  $("question").onkeydown = (event) => {
    // Enter also ends the choice of a Chinese character; that one sends nothing.
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      $("form").requestSubmit();
    }
  };
  $("language").onclick = () => { language = language === "en" ? "zh-TW" : "en"; speak(); };
  speak();
  add($("said"), "div", "turn bot", WORDS[language].hello);
})();
