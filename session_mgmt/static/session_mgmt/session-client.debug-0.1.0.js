/*! session_mgmt browser client 0.1.0, BSD-3-Clause. Built from session_mgmt/js; do not edit. */
let made;export default(shared)=>made??=(()=>{
"use strict";var part=(()=>{var l=Object.defineProperty;var b=Object.getOwnPropertyDescriptor;var f=Object.getOwnPropertyNames;var g=Object.prototype.hasOwnProperty;var x=(i,t)=>{for(var e in t)l(i,e,{get:t[e],enumerable:!0})},w=(i,t,e,o)=>{if(t&&typeof t=="object"||typeof t=="function")for(let s of f(t))!g.call(i,s)&&s!==e&&l(i,s,{get:()=>t[s],enumerable:!(o=b(t,s))||o.enumerable});return i};var y=i=>w(l({},"__esModule",{value:!0}),i);var E={};x(E,{openPanel:()=>v});var R=new Set(["token","access","refresh","nonce"]),S=`
  :host { all: initial; }
  section { position: fixed; inset: auto 8px 8px auto; z-index: 2147483647; box-sizing: border-box;
    width: min(560px, calc(100vw - 16px)); max-height: min(70vh, 640px); overflow: auto; border: 1px solid #6b7280;
    border-radius: 8px; background: #fff; color: #111827; font: 13px/1.4 system-ui, sans-serif; }
  header { position: sticky; top: 0; display: flex; gap: 8px; align-items: center; padding: 8px 12px;
    border-bottom: 1px solid #d1d5db; background: inherit; }
  h2 { margin: 0; font-size: 14px; }
  p { flex: 1; margin: 0; overflow-wrap: anywhere; }
  button { min-width: 44px; min-height: 32px; border: 1px solid #6b7280; border-radius: 6px; background: inherit;
    color: inherit; font: inherit; cursor: pointer; }
  :focus-visible { outline: 3px solid #2563eb; outline-offset: 1px; }
  summary { padding: 6px 12px; font-weight: 600; cursor: pointer; }
  div { overflow-x: auto; padding: 0 12px 8px; }
  table { width: 100%; border-collapse: collapse; }
  td, th { padding: 2px 8px 2px 0; border-top: 1px solid #e5e7eb; text-align: start; vertical-align: top; }
  td { font-family: ui-monospace, monospace; font-size: 12px; overflow-wrap: anywhere; }
  td:not(:last-child), th { white-space: nowrap; }
  @media (prefers-color-scheme: dark) {
    section { background: #111827; color: #f3f4f6; border-color: #9ca3af; }
    td, th, header { border-color: #374151; }
    button { border-color: #9ca3af; }
    :focus-visible { outline-color: #93c5fd; }
  }
`;function v(i){let t=new h(i);return document.body.append(t.host),()=>t.close()}var h=class{host=document.createElement("session-mgmt-debug");#t;#e=n("p",{role:"status"});#o=new d("Frames",["time","way","frame"]);#i=new d("Positions",["log","offset","epoch","tag"]);#a=new d("Outbox",["number","type","write"]);#c=new d("Status and verdicts",["time","what","detail"]);#d;#s=[];#n=[];#r;constructor(t){this.#t=t,this.#u(),this.#d=[t.onFrame((e,o)=>{this.#s=u(this.#s,[m(),e,p(o)]),this.#p()}),t.onStatus((e,o)=>this.#l(e,o?`${o.code} ${o.name}`:"")),t.onRecovery(e=>this.#l(`recovery: ${e.verdict}`,p(e)))],this.#h()}close(){for(let t of this.#d)t();clearTimeout(this.#r),this.host.remove()}#u(){let t=this.host.attachShadow({mode:"open"}),e=new CSSStyleSheet;e.replaceSync(S),t.adoptedStyleSheets=[e];let o=n("h2",{id:"title"},"session_mgmt"),s=n("button",{type:"button"},"Close");s.addEventListener("click",()=>this.close());let r=[this.#o,this.#i,this.#a,this.#c].map(({element:c})=>c),a=n("section",{"aria-labelledby":"title"},n("header",{},o,this.#e,s),...r);a.addEventListener("keydown",({key:c})=>{c==="Escape"&&this.close()}),t.append(a)}#l(t,e){this.#n=u(this.#n,[m(),t,e]),this.#p()}#p(){this.#r??=setTimeout(()=>{this.#r=void 0,this.#h()},100)}#h(){let{id:t,client:e,status:o,pending:s}=this.#t.describe(),r=`${o}, ${s} waiting, session ${t||"-"}, client ${e??"-"}`;this.#e.textContent!==r&&(this.#e.textContent=r),this.#o.draw(this.#s),this.#c.draw(this.#n),this.#i.draw(Object.entries(this.#t.listPositions()).map(([a,c])=>T(a,c))),this.#a.draw(this.#t.listWaiting().map(({seq:a,frame:c})=>[`${a}`,c.type,p(c)]))}},d=class{element;#t;#e=n("summary",{});#o=n("tbody",{});#i="";constructor(t,e){this.#t=t;let o=e.map(a=>n("th",{scope:"col"},a)),s=n("table",{"aria-label":t},n("thead",{},n("tr",{},...o)),this.#o),r=n("div",{tabindex:"0",role:"group","aria-label":t},s);this.element=n("details",{open:""},this.#e,r),this.draw([])}draw(t){let e=JSON.stringify(t);e!==this.#i&&(this.#i=e,this.#e.textContent=`${this.#t} (${t.length})`,this.#o.replaceChildren(...t.map(o=>n("tr",{},...o.map(s=>n("td",{},s))))))}};function n(i,t,...e){let o=document.createElement(i);for(let[s,r]of Object.entries(t))o.setAttribute(s,r);return o.append(...e),o}function u(i,t){return[t,...i].slice(0,100)}function T(i,t){return t?[i,`${t[1]}`,t[0],t[2]]:[i,"-","-","-"]}function p(i){let t=JSON.stringify(i,(e,o)=>R.has(e)?"…":o);return t.length>2e3?`${t.slice(0,2e3)}…`:t}function m(){return new Date().toISOString().slice(11,-1)}return y(E);})();
return part})();
//# sourceMappingURL=session-client.debug-0.1.0.js.map
