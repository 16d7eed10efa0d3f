// RUN: lamina opt %s -p 'autodiff,dce' | filecheck %s
// A forward value that was computed before is read from where it was kept; its derivative flows through how it was made.
builtin.module {
  func.func @main(%x: tensor<4xf32>, %kept: tensor<4xf32>, %seed: tensor<4xf32>) -> tensor<4xf32> {
    %0 = prim.exp %x {origin = "m.py:1"} : (tensor<4xf32>) -> tensor<4xf32>
    %1 = autodiff.saved %0, %kept : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
    %2 = prim.sin %1 {origin = "m.py:2"} : (tensor<4xf32>) -> tensor<4xf32>
    %3 = autodiff.grad %2, %seed, %x {origin = "m.py:3"} : (tensor<4xf32>, tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
    func.return %3 : tensor<4xf32>
  }
}
// CHECK:      func.func @main
// CHECK-NEXT: %[[C:.*]] = prim.cos %kept
// CHECK-NEXT: %[[G:.*]] = prim.mul %seed, %[[C]]
// CHECK-NEXT: %[[D:.*]] = prim.mul %[[G]], %kept {origin = "m.py:1"}
// CHECK-NEXT: func.return %[[D]]
