// RUN: lamina opt %s -p 'dce' --check-each-pass | filecheck %s
builtin.module {
  func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
    %0 = prim.exp %x : (tensor<4xf32>) -> tensor<4xf32>
    %1 = prim.neg %0 : (tensor<4xf32>) -> tensor<4xf32>
    %2 = prim.sin %x : (tensor<4xf32>) -> tensor<4xf32>
    func.return %2 : tensor<4xf32>
  }
}
// CHECK:      func.func @main
// CHECK-NEXT: %[[R:.*]] = prim.sin %x
// CHECK-NEXT: func.return %[[R]]
