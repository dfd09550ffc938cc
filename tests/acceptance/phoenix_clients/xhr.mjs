// XMLHttpRequest as far as phoenix 1.6 and 1.7 use it, over Node's fetch: those know no other way to poll.

export class XMLHttpRequest {
  timeout = 0
  readyState = 0
  responseText = ""
  #headers = {}
  #abort = new AbortController()

  open(method, url) {
    this.method = method
    this.url = url
  }

  setRequestHeader(name, value) {
    this.#headers[name] = value
  }

  send(body) {
    const clock = this.timeout ? setTimeout(() => this.#late(), this.timeout) : null
    fetch(this.url, { method: this.method, headers: this.#headers, body: body ?? undefined, signal: this.#abort.signal })
      .then((response) => response.text())
      .then(
        (text) => {
          this.responseText = text
          this.readyState = 4
          this.onreadystatechange?.()
        },
        () => {
          if (!this.#abort.signal.aborted) this.onerror?.()
        },
      )
      .finally(() => clearTimeout(clock))
  }

  abort() {
    this.#abort.abort()
  }

  #late() {
    this.abort()
    this.ontimeout?.()
  }
}
