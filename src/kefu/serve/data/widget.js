// <script src="https://bot.example/widget.js" data-key="…" data-lang="zh-TW" data-model="…"></script>
// A button that opens the chat page in a frame: the shop's page and the chat cannot touch each other.
"use strict";
(() => {
  const own = document.currentScript;
  const english = (own.dataset.lang || document.documentElement.lang || "zh-TW").startsWith("en");
  const given = new URLSearchParams({ lang: english ? "en" : "zh-TW", key: own.dataset.key || "" });
  const model = own.dataset.model ? "?" + new URLSearchParams({ model: own.dataset.model }) : "";
  const button = document.createElement("button");
  const label = (open) => english ? (open ? "Close chat" : "Chat") : (open ? "關閉客服" : "客服");
  button.type = "button";
  button.style.cssText = "position:fixed;right:1rem;bottom:1rem;z-index:2147483647;min-height:48px;padding:0 1.2rem;border:0;border-radius:24px;background:#0b5a8a;color:#fff;font:16px system-ui,sans-serif;cursor:pointer";
  let frame = null;
  const show = (open) => {
    if (open && !frame) {
      frame = document.createElement("iframe");
      frame.title = english ? "Customer service" : "客服";
      frame.src = new URL("./" + model + "#" + given, own.src).href;
      frame.style.cssText = "position:fixed;right:1rem;bottom:5rem;z-index:2147483646;width:min(24rem,calc(100vw - 2rem));height:min(36rem,calc(100vh - 7rem));border:1px solid #d9dee5;border-radius:12px;background:#fff;box-shadow:0 8px 32px #0003";
      document.body.append(frame);
    }
    if (frame) frame.style.display = open ? "block" : "none";
    button.textContent = label(open);
    button.setAttribute("aria-expanded", String(open));
  };
  button.onclick = () => show(button.getAttribute("aria-expanded") !== "true");
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") show(false); });
  show(false);
  document.body.append(button);
})();
