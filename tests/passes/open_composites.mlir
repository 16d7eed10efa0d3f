// RUN: lamina opt %s -p 'open-composites' --check-each-pass | filecheck %s
// RUN: lamina opt %s -p 'open-composites{keep=softmax}' | filecheck %s --check-prefix=KEPT
builtin.module {
  func.func @main(%x: tensor<4x8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>) {
    %0 = nn.softmax %x {axes = array<i64: 1>, origin = "m.py:1"} : (tensor<4x8xf32>) -> tensor<4x8xf32>
    %1 = nn.mish %0 {origin = "m.py:2"} : (tensor<4x8xf32>) -> tensor<4x8xf32>
    func.return %0, %1 : tensor<4x8xf32>, tensor<4x8xf32>
  }
}
// CHECK-NOT: nn.
// CHECK:     prim.exp %{{.*}} {origin = "m.py:1"}
// CHECK:     prim.tanh %{{.*}} {origin = "m.py:2"}
// CHECK-NOT: nn.
// KEPT:      nn.softmax
// KEPT-NOT:  nn.mish
