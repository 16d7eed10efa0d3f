// RUN: lamina opt %s -p 'winograd{keep=true},dce' --check-each-pass | filecheck %s
// Two results of a kernel of three elements take four products of sums: windows of four every two, and four sums of the kernel's.
builtin.module {
  func.func @main(%x: tensor<1x1x128x66xf32>, %k: tensor<1x128x128x3xf32>) -> tensor<1x1x128x64xf32> {
    %0 = prim.conv %x, %k {stride = array<i64: 1>, dilation = array<i64: 1>} : (tensor<1x1x128x66xf32>, tensor<1x128x128x3xf32>) -> tensor<1x1x128x64xf32>
    func.return %0 : tensor<1x1x128x64xf32>
  }
}
// CHECK-NOT: prim.conv
// CHECK:     %[[SPREAD:.*]] = prim.reshape {{.*}} -> tensor<1x1x1x66x128xf32>
// CHECK-DAG: prim.slice %[[SPREAD]] {start = array<i64: 0, 0, 0, 0, 0>, size = array<i64: 1, 1, 1, 32, 128>, step = array<i64: 1, 1, 1, 2, 1>}
// CHECK-DAG: prim.slice %[[SPREAD]] {start = array<i64: 0, 0, 0, 3, 0>, size = array<i64: 1, 1, 1, 32, 128>, step = array<i64: 1, 1, 1, 2, 1>}
// CHECK:     prim.matmul {{.*}} : (tensor<4x1x32x128xf32>, tensor<4x1x128x128xf32>) -> tensor<4x1x32x128xf32>
// CHECK:     prim.update {{.*}} {start = array<i64: 0, 0, 0, 0>, step = array<i64: 1, 1, 2, 1>}
// CHECK:     prim.update {{.*}} {start = array<i64: 0, 0, 1, 0>, step = array<i64: 1, 1, 2, 1>}
