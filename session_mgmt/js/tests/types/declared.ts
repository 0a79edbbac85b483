// Written by manage.py session_types from session_topics.py; do not edit.

export interface Cart {
  "line-items": Array<Line>;
  made: string;
}

export interface Line {
  sku: string;
  amounts: [number, number];
  tags: Record<string, Array<boolean>>;
}

export interface Order {
  status: "paid" | "sent";
  note?: string | null;
}

export type App = {
  state: Cart;
  documents: {
    lines: Array<Line>;
  };
  topics: {
    "orders:{pk}": Order;
    "rooms:{pk}": any;
  };
  send: { in: "checkout"; out: Order } | { in: any; out: any };
};
